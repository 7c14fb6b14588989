package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A flaky store is one that can be away.
type flaky struct {
	ipam.Store
	down atomic.Bool
}

func (f *flaky) Transact(ctx context.Context, access ipam.Access, fn func(ipam.Tx) error) error {
	if f.down.Load() {
		return fmt.Errorf("test: %w", ipam.ErrUnavailable)
	}
	return f.Store.Transact(ctx, access, fn)
}

// leaseOf makes a lease without an attachment.
func leaseOf(t *testing.T, a *ipam.Allocator, network, id string) ipam.Lease {
	t.Helper()
	l, err := a.Allocate(t.Context(), ipam.Request{
		Key:   ipam.Key{Network: network, ContainerID: id, IfName: "eth0"},
		Pools: []ipam.Pool{ipam.SubnetPool(network, netip.MustParsePrefix("192.0.2.0/24"), netip.Addr{})},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLeases(t *testing.T) {
	store := ipam.NewMemoryStore()
	mine, other := ipam.New(store, ipam.Config{Machine: "mine"}), ipam.New(store, ipam.Config{Machine: "other"})
	leaseOf(t, mine, "n2", "stray-at-start")
	leaseOf(t, other, "n2", "theirs")
	cfg := config(newDirs(t))
	cfg.Leases = mine
	r := start(t, cfg)
	att := r.attach("n1", "c1", shim.AttachRequest{})
	leaseOf(t, mine, "n2", "stray")

	list, err := r.Leases(t.Context(), "")
	var got []string
	for _, l := range list {
		got = append(got, fmt.Sprint(l.Network, "/", l.ContainerID, " ", l.Machine, " ", l.Attached))
	}
	want := "n1/c1 mine true, n2/stray mine false, n2/theirs other false"
	if text := strings.Join(got, ", "); err != nil || os.Getuid() == 0 && text != want {
		t.Errorf("leases: %s, %v, want %s", text, err, want)
	}
	if list, err := r.Leases(t.Context(), "n1"); err != nil || len(list) != 1 || list[0].Addrs[0] != att.IPs[0].Address {
		t.Errorf("leases of n1: %+v, %v", list, err)
	}
	if err := r.ReleaseLease(t.Context(), "n1", "c1", "eth0", ""); shim.CodeOf(err) != shim.CodeConflict {
		t.Errorf("release of an attachment's lease: %v", err)
	}
	for _, id := range []string{"stray", "theirs", "none"} {
		if err := r.ReleaseLease(t.Context(), "n2", id, "eth0", ""); err != nil {
			t.Errorf("release %s: %v", id, err)
		}
	}
	if left, err := mine.List(t.Context(), "n2"); err != nil || len(left) != 1 || left[0].ContainerID != "theirs" {
		t.Errorf("left of n2: %+v, %v", left, err)
	}
	if os.Getuid() != 0 {
		return
	}
	if err := r.ReleaseLease(t.Context(), "n2", "theirs", "eth0", "other"); err != nil {
		t.Errorf("release of another machine's: %v", err)
	}
	if left, err := mine.List(t.Context(), "n2"); err != nil || len(left) != 0 {
		t.Errorf("left of n2: %+v, %v", left, err)
	}
}

// TestLeasesOfOthers asks as a user who owns nothing.
func TestLeasesOfOthers(t *testing.T) {
	require.Root(t)
	cfg := config(newDirs(t))
	cfg.OtherUsers = true
	r := start(t, cfg)
	r.attach("n", "c1", shim.AttachRequest{})
	if err := os.Chmod(cfg.Dirs.ShimSocket(), 0o666); err != nil {
		t.Fatal(err)
	}
	exe := publicSelf(t, filepath.Dir(cfg.Dirs.State))
	if got := r.doAs(nobody, exe, "GET", "/v1/leases", ""); got != "200 []\n" {
		t.Errorf("leases: %s", got)
	}
	if got := r.doAs(nobody, exe, "DELETE", "/v1/networks/n/leases/c2/eth0", ""); !strings.HasPrefix(got, "403") {
		t.Errorf("release: %s", got)
	}
}

// TestLeaseStoreAway takes the lease store away from a shim, and from one that
// starts.
func TestLeaseStoreAway(t *testing.T) {
	store := &flaky{Store: ipam.NewMemoryStore()}
	cfg := config(newDirs(t))
	cfg.Leases = ipam.New(store, ipam.Config{Machine: "m"})
	r := start(t, cfg)
	before := r.attach("n", "c1", shim.AttachRequest{})
	census := r.census()
	census.fds, census.goroutines = census.fds+2, census.goroutines+2 // the connection of these requests
	store.down.Store(true)
	unavailable := func(what string, err error) {
		t.Helper()
		var e *shim.Error
		if !errors.As(err, &e) || e.Code != shim.CodeUnavailable || e.Key != shim.KeyIPAM {
			t.Errorf("%s: %v, want code unavailable of key ipam", what, err)
		}
	}
	_, err := r.Attach(t.Context(), "n", "c2", "eth0", shim.AttachRequest{})
	unavailable("attach", err)
	_, err = r.Network(t.Context(), "n")
	unavailable("network", err)
	_, err = r.Network(t.Context(), "unknown")
	unavailable("unknown network", err)
	_, err = r.Leases(t.Context(), "")
	unavailable("leases", err)
	r.nothingLeft(census)
	r.stop()
	r = start(t, cfg)
	if a, err := r.Attachment(t.Context(), "n", "c1", "eth0"); err != nil || a.Problem != "" || a.IPs[0] != before.IPs[0] {
		t.Errorf("after a restart without the lease store: %+v, %v", a, err)
	}
	store.down.Store(false)
	r.attach("n", "c2", shim.AttachRequest{})
	if err := r.Detach(t.Context(), "n", "c1", "eth0"); err != nil {
		t.Error(err)
	}
}
