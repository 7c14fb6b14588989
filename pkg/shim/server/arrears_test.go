package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A lossy store does what is written and loses the answer, while lost says so.
// listed counts scans of the leases of all networks.
type lossy struct {
	ipam.Store
	lost   atomic.Bool
	listed atomic.Int64
}

func (l *lossy) Transact(ctx context.Context, access ipam.Access, fn func(ipam.Tx) error) error {
	err := l.Store.Transact(ctx, access, func(tx ipam.Tx) error { return fn(listedTx{tx, &l.listed}) })
	if err == nil && access == ipam.ReadWrite && l.lost.Load() {
		return fmt.Errorf("test: answer lost: %w", ipam.ErrUnavailable)
	}
	return err
}

type listedTx struct {
	ipam.Tx
	listed *atomic.Int64
}

func (t listedTx) Scan(table ipam.Table, prefix []byte, visit func(key, value []byte) bool) error {
	if table == ipam.TableLeases && len(prefix) == 0 {
		t.listed.Add(1)
	}
	return t.Tx.Scan(table, prefix, visit)
}

// leasesBecome waits until the allocator holds the leases of these containers.
func leasesBecome(t *testing.T, a *ipam.Allocator, want ...string) {
	t.Helper()
	var got []string
	eventually(t, func() bool {
		leases, err := a.List(t.Context(), "n")
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, l := range leases {
			got = append(got, l.ContainerID)
		}
		return fmt.Sprint(got) == fmt.Sprint(want)
	}, func() string { return fmt.Sprintf("leases of %q, want of %q", got, want) })
}

// TestLostAnswer loses the answer of the lease store to an ADD: the lease that may be
// there is released when the store answers, though nobody asks for it.
func TestLostAnswer(t *testing.T) {
	store := &lossy{Store: ipam.NewMemoryStore()}
	cfg := config(newDirs(t))
	cfg.Leases = ipam.New(store, ipam.Config{Machine: "m"})
	r := start(t, cfg)
	r.attach("n", "c1", shim.AttachRequest{})
	store.lost.Store(true)
	if _, err := r.Attach(t.Context(), "n", "c2", "eth0", shim.AttachRequest{}); shim.CodeOf(err) != shim.CodeUnavailable {
		t.Errorf("attach: %v, want code unavailable", err)
	}
	store.lost.Store(false)
	if err := r.Detach(t.Context(), "n", "c2", "eth0"); err != nil { // what runtimes do then
		t.Error(err)
	}
	leasesBecome(t, cfg.Leases, "c1")
}

// TestDetachWhileAway: a DELETE that could not release the lease is done to the end
// when the store is back, unless the attachment was asked for again.
func TestDetachWhileAway(t *testing.T) {
	store := &flaky{Store: ipam.NewMemoryStore()}
	cfg := config(newDirs(t))
	cfg.Leases = ipam.New(store, ipam.Config{Machine: "m"})
	r := start(t, cfg)
	for _, id := range []string{"c1", "c2"} {
		r.attach("n", id, shim.AttachRequest{})
	}
	store.down.Store(true)
	if err := r.Detach(t.Context(), "n", "c1", "eth0"); err == nil {
		t.Error("detached without the lease store")
	}
	store.down.Store(false)
	leasesBecome(t, cfg.Leases, "c2")
	eventually(t, func() bool {
		list, err := r.Attachments(t.Context())
		return err == nil && len(list) == 1 && list[0].ContainerID == "c2"
	}, func() string { return "c1 is listed still" })
}

// TestStartWhileAway starts a shim without the lease store, which has lost a lease
// meanwhile and has one that no attachment is for.
func TestStartWhileAway(t *testing.T) {
	inner := ipam.NewMemoryStore()
	store := &flaky{Store: inner}
	cfg := config(newDirs(t))
	cfg.Leases = ipam.New(store, ipam.Config{Machine: "m"})
	r := start(t, cfg)
	before := r.attach("n", "c1", shim.AttachRequest{})
	r.stop()
	direct := ipam.New(inner, ipam.Config{Machine: "m"})
	leaseOf(t, direct, "n", "stray")
	leaseOf(t, ipam.New(inner, ipam.Config{Machine: "other"}), "n", "theirs")
	if err := direct.Release(t.Context(), ipam.Key{Network: "n", ContainerID: "c1", IfName: "eth0"}); err != nil {
		t.Fatal(err)
	}
	store.down.Store(true)
	r = start(t, cfg)
	if a, err := r.Attachment(t.Context(), "n", "c1", "eth0"); err != nil || a.Problem != "" || a.IPs[0] != before.IPs[0] {
		t.Errorf("without the lease store: %+v, %v", a, err)
	}
	store.down.Store(false)
	leasesBecome(t, direct, "c1", "theirs")
	if l, err := direct.Lookup(t.Context(), ipam.Key{Network: "n", ContainerID: "c1", IfName: "eth0"}); err != nil || l.Addrs[0] != before.IPs[0].Address {
		t.Errorf("lease %+v, %v, want %s", l, err, before.IPs[0].Address)
	}
}

// TestSharedStart: a shim that shares its leases does not list those of the fleet when
// it starts, and not at all after one that ended in order.
func TestSharedStart(t *testing.T) {
	store := &lossy{Store: ipam.NewMemoryStore()}
	cfg := config(newDirs(t))
	cfg.SharedLeases = true
	cfg.Leases = ipam.New(store, ipam.Config{Machine: "m"})
	r := start(t, cfg)
	var req shim.AttachRequest
	req.Network.Subnet = netip.MustParsePrefix("10.9.9.0/24")
	a := r.attach("n", "c1", req)
	r.stop()
	settled := filepath.Join(cfg.Dirs.State, "leases-settled")
	if _, err := os.Stat(settled); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("file %s: %v, though the first shim has not looked yet", settled, err)
	}
	if err := os.WriteFile(settled, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r = start(t, cfg)
	if _, err := os.Stat(settled); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("file %s while a shim runs: %v", settled, err)
	}
	if b, err := r.Attachment(t.Context(), "n", "c1", "eth0"); err != nil || b.IPs[0] != a.IPs[0] {
		t.Errorf("%+v, %v", b, err)
	}
	r.stop()
	if _, err := os.Stat(settled); err != nil {
		t.Errorf("after an end in order: %v", err)
	}
	if n := store.listed.Load(); n != 0 {
		t.Errorf("all leases were listed %d times", n)
	}
}

// TestTakenBy: who may know is told who has the address.
func TestTakenBy(t *testing.T) {
	r := start(t, config(newDirs(t)))
	var req shim.AttachRequest
	req.Network.Subnet, req.IPs = netip.MustParsePrefix("10.9.9.0/24"), []string{"10.9.9.7"}
	r.attach("n", "c1", req)
	_, err := r.Attach(t.Context(), "n", "c2", "eth0", req)
	if shim.CodeOf(err) != shim.CodeConflict || !strings.Contains(err.Error(), `ips "10.9.9.7": another attachment of the network has it: n/c1/eth0`) {
		t.Errorf("%v, want a conflict that names n/c1/eth0", err)
	}
}

// TestSharedMemory: a machine that has used many networks forgets its choices, not
// what the fleet remembers of addresses.
func TestSharedMemory(t *testing.T) {
	cfg := config(newDirs(t))
	cfg.SharedLeases, cfg.Limits.Networks = true, 1
	cfg.Leases = ipam.New(ipam.NewMemoryStore(), ipam.Config{Machine: "m"})
	r := start(t, cfg)
	visit := func(network string, ips ...string) netip.Prefix {
		t.Helper()
		var req shim.AttachRequest
		req.Network.Subnet, req.IPs, req.Lease.StickyKey = netip.MustParsePrefix("10.9.9.0/24"), ips, "web"
		a := r.attach(network, "c", req)
		if err := r.Detach(t.Context(), network, "c", "eth0"); err != nil {
			t.Fatal(err)
		}
		return a.IPs[0].Address
	}
	first := visit("n0", "10.9.9.77")
	for i := range 6 {
		visit(fmt.Sprint("n", i+1))
	}
	if again := visit("n0"); again != first {
		t.Errorf("got %s, want %s again", again, first)
	}
}

// TestDetachKeepsFailing: a DELETE that cannot be done for another reason is tried
// again now and then, not all the time.
func TestDetachKeepsFailing(t *testing.T) {
	cfg := config(newDirs(t))
	var failed atomic.Int64
	log := logrus.New()
	log.SetOutput(io.Discard)
	log.AddHook(countErrors{&failed})
	cfg.Log = log
	r := start(t, cfg)
	r.attach("n", "c1", shim.AttachRequest{})
	file := cfg.Dirs.AttachmentFile("n", "c1", "eth0")
	if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := r.Detach(t.Context(), "n", "c1", "eth0"); err == nil {
		t.Error("detached, though the state file cannot be removed")
	}
	begin := time.Now()
	eventually(t, func() bool { return failed.Load() >= 4 }, func() string { return "it is not tried again" })
	if took := time.Since(begin); took < 250*time.Millisecond {
		t.Errorf("three attempts and the first in %s", took)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		list, err := r.Attachments(t.Context())
		return err == nil && len(list) == 0
	}, func() string { return "c1 is listed still" })
}

// countErrors is a hook that counts entries of level Error.
type countErrors struct{ n *atomic.Int64 }

func (countErrors) Levels() []logrus.Level     { return []logrus.Level{logrus.ErrorLevel} }
func (c countErrors) Fire(*logrus.Entry) error { c.n.Add(1); return nil }

// TestDamageWhileAway: a lease without attachment stays where it may be that of a
// record which is damaged, and which could not be made again for want of the store.
func TestDamageWhileAway(t *testing.T) {
	inner := ipam.NewMemoryStore()
	store := &flaky{Store: inner}
	cfg := config(newDirs(t))
	cfg.Leases = ipam.New(store, ipam.Config{Machine: "m"})
	r := start(t, cfg)
	damaged := r.attach("n", "c1", shim.AttachRequest{})
	r.attach("n", "c2", shim.AttachRequest{})
	r.stop()
	damage(t, cfg.Dirs, damaged, func([]byte) []byte { return nil })
	direct := ipam.New(inner, ipam.Config{Machine: "m"})
	if err := direct.Release(t.Context(), ipam.Key{Network: "n", ContainerID: "c2", IfName: "eth0"}); err != nil {
		t.Fatal(err)
	}
	store.down.Store(true)
	r = start(t, cfg)
	store.down.Store(false)
	leasesBecome(t, direct, "c1", "c2") // c2's is made again, and what comes after that
	r.attach("n", "c3", shim.AttachRequest{})
	leasesBecome(t, direct, "c1", "c2", "c3")
}
