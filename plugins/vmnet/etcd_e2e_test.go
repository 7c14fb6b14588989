package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/etcdtest"
	"github.com/vmnet-cni/vmnet/pkg/handover"
)

// TestE2EEtcdAway: while etcd is away STATUS says 50, ADD ends in code 11 within
// its time-out and leaves nothing, CHECK works, DEL ends in code 11 and can be
// repeated, frames of what runs go on; and all is well again by itself.
func TestE2EEtcdAway(t *testing.T) {
	const etcdTimeout = 4 * time.Second
	etcd := etcdtest.Start(t, false)
	h := newHost(t)
	log := &strings.Builder{}
	cmd := exec.Command(filepath.Join(h.bin, "vmnet-shim"), "serve", "--ipam-store", "etcd", "--etcd-endpoints", etcd.Endpoint,
		"--machine", "m1", "--etcd-timeout", etcdTimeout.String())
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("shim: %v\n%s", err, log)
		}
	})
	waitFor(t, "the shim", func() bool { _, err := h.client.Status(t.Context()); return err == nil })
	c := conf(t, "", map[string]any{"shim": nil, "subnet": "192.168.77.0/24", "subnet6": "fd77::/64"})

	l, err := handover.Listen(filepath.Join(h.dir, "vm.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	offers := make(chan *handover.Offer, 1)
	go func() {
		if o, err := l.Accept(t.Context()); err == nil && o.Accept() == nil {
			offers <- o
		}
	}()
	env := map[string]string{"CNI_NETNS": l.Path()}
	out := h.must("ADD", "runs", env, c)
	o := <-offers
	defer o.File.Close()
	askGateway(t, o, result(t, out))
	h.must("STATUS", "x", nil, c)
	h.must("ADD", "leaves", nil, c)
	before := stateFiles(t, h)

	etcd.Kill()
	// A busy machine may take longer than the patience of STATUS, and that is code 51.
	waitFor(t, "code 50 of STATUS", func() bool {
		got := h.exec("STATUS", "x", nil, c)
		if got.code == 0 {
			t.Errorf("STATUS: %+v", got)
		}
		return strings.Contains(got.stdout, `"code":50`)
	})
	begin := time.Now()
	got := h.exec("ADD", "fails", nil, c)
	took := time.Since(begin)
	if got.code == 0 || !strings.Contains(got.stdout, `"code":11`) || !strings.Contains(got.stdout, "store is not available") || took > 2*etcdTimeout+20*time.Second {
		t.Errorf("ADD after %s: %+v", took, got)
	}
	t.Logf("ADD while etcd is away: after %s: %s", took.Round(time.Millisecond), got.stdout)
	if ids := h.attached(); len(ids) != 2 {
		t.Errorf("attachments %v, want the two there were", ids)
	}
	if after := stateFiles(t, h); after != before {
		t.Errorf("ADD left something:\n%s\nthere was\n%s", after, before)
	}
	h.must("CHECK", "runs", env, conf(t, "", map[string]any{"shim": nil, "subnet": "192.168.77.0/24", "subnet6": "fd77::/64", "prevResult": raw(out)}))
	askGateway(t, o, result(t, out))

	brief := conf(t, "", map[string]any{"shim": map[string]any{"timeout": "3s"}, "subnet": "192.168.77.0/24", "subnet6": "fd77::/64"})
	if got := h.exec("DEL", "leaves", nil, brief); got.code == 0 || !strings.Contains(got.stdout, `"code":11`) {
		t.Errorf("DEL: %+v, want code 11: the lease cannot be released", got)
	}

	etcd.Restart()
	waitFor(t, "STATUS", func() bool { return h.exec("STATUS", "x", nil, c).code == 0 })
	h.must("ADD", "fails", nil, c)
	h.must("DEL", "leaves", nil, c)
	leases, err := h.client.Leases(t.Context(), "shared")
	if err != nil || len(leases) != 2 {
		t.Errorf("leases %+v, %v, want two", leases, err)
	}
	for _, id := range []string{"runs", "fails"} {
		h.must("DEL", id, env, c)
	}
	h.clean()
	if leases, err := h.client.Leases(t.Context(), ""); err != nil || len(leases) != 0 {
		t.Errorf("leases are left: %+v, %v", leases, err)
	}
}

// stateFiles lists what the host has of attachments and their sockets.
func stateFiles(t *testing.T, h *host) string {
	t.Helper()
	var all []string
	for _, dir := range []string{"run/s", "state/attachments"} {
		entries, err := os.ReadDir(filepath.Join(h.dir, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, filepath.Join(dir, e.Name()))
		}
	}
	return strings.Join(all, "\n")
}
