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
	out := h.inTheEnd("ADD", "runs", env, c)
	o := <-offers
	defer o.File.Close()
	askGateway(t, o, result(t, out))
	h.inTheEnd("STATUS", "x", nil, c)
	h.inTheEnd("ADD", "leaves", nil, c)
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
	h.inTheEnd("STATUS", "x", nil, c)
	h.inTheEnd("ADD", "fails", nil, c)
	h.inTheEnd("DEL", "leaves", nil, c)
	leases := func(want int) func() bool {
		return func() bool { l, err := h.client.Leases(t.Context(), ""); return err == nil && len(l) == want }
	}
	waitFor(t, "two leases", leases(2))
	for _, id := range []string{"runs", "fails"} {
		h.inTheEnd("DEL", id, env, c)
	}
	h.clean()
	waitFor(t, "no leases", leases(0))
}

// inTheEnd calls a verb until it succeeds, and returns what it said: on a machine that
// stalls etcd may miss its time, which is code 11 or 50.
func (h *host) inTheEnd(verb, id string, env map[string]string, conf string) (out string) {
	h.t.Helper()
	waitFor(h.t, verb+" of "+id, func() bool {
		got := h.exec(verb, id, env, conf)
		if got.code != 0 && !strings.Contains(got.stdout, `"code":11`) && !strings.Contains(got.stdout, `"code":50`) {
			h.t.Fatalf("%s of %s: %+v", verb, id, got)
		}
		out = got.stdout
		return got.code == 0
	})
	return out
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
