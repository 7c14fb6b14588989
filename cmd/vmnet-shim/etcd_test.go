package main

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/etcdtest"
	"github.com/vmnet-cni/vmnet/pkg/ipam/etcdstore"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// serve starts a shim with flags and waits until it answers.
func (w *world) serve(args ...string) *exec.Cmd {
	w.t.Helper()
	cmd := w.cmd(append([]string{"serve"}, args...)...)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || w.t.Failed() {
			w.t.Logf("shim: %v\n%s", err, log.String())
		}
	})
	w.eventually("the shim serves", func() bool { s, _, _ := w.run("inspect"); return s == 0 })
	return cmd
}

func (w *world) attach(network, id string) shim.Attachment {
	w.t.Helper()
	c := shim.NewClient(w.dirs.ShimSocket())
	defer c.Close()
	req := shim.AttachRequest{Network: shim.NetworkSpec{Subnet: netip.MustParsePrefix("10.6.6.0/24")}}
	req.Lease.StickyKey = "name-of-" + id
	var a shim.Attachment
	w.eventually("an answer of the store", func() (done bool) { // which a busy machine may keep away for a while
		var err error
		a, err = c.Attach(w.t.Context(), network, id, "eth0", req)
		if err != nil && shim.CodeOf(err) != shim.CodeUnavailable {
			w.t.Fatal(err)
		}
		return err == nil
	})
	return a
}

// leases runs the command and returns what it lists, by machine and container.
func (w *world) leases(args ...string) map[string]shim.Lease {
	w.t.Helper()
	status, out, errs := w.run(append([]string{"leases", "-o", "json"}, args...)...)
	var list []shim.Lease
	if err := json.Unmarshal([]byte(out), &list); err != nil || status != 0 {
		w.t.Fatalf("leases: %d, %v: %s%s", status, err, out, errs)
	}
	all := map[string]shim.Lease{}
	for _, l := range list {
		all[l.Machine+"/"+l.ContainerID] = l
	}
	return all
}

// TestServeEtcd has the shims of two machines share a network in an etcd that
// wants certificates and a password, by the flags of serve, and looks at it with
// the commands.
func TestServeEtcd(t *testing.T) {
	e := etcdtest.Start(t, true)
	e.EnableAuth("vmnet", "secret", etcdstore.DefaultPrefix)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := func(machine string) []string {
		return []string{"--ipam-store", "etcd", "--etcd-endpoints", e.Endpoint, "--etcd-cacert", e.CA, "--etcd-cert", e.Cert, "--etcd-key", e.Key,
			"--etcd-user", "vmnet", "--etcd-password-file", password, "--etcd-timeout", "1m", "--machine", machine}
	}
	one, two := newWorld(t), newWorld(t)
	one.serve(flags("m1")...)
	two.serve(flags("m2")...)
	a, b := one.attach("fleet", "c1"), two.attach("fleet", "c2")
	if a.IPs[0].Address == b.IPs[0].Address {
		t.Errorf("both have %s", a.IPs[0].Address)
	}
	all := one.leases("--network", "fleet")
	mine, theirs := all["m1/c1"], all["m2/c2"]
	if !mine.Attached || mine.Addrs[0] != a.IPs[0].Address || mine.StickyKey != "name-of-c1" {
		t.Errorf("leases: %+v", all)
	}
	if os.Getuid() == 0 {
		if theirs.Attached || len(theirs.Addrs) == 0 || theirs.Addrs[0] != b.IPs[0].Address {
			t.Errorf("leases of the other machine: %+v", all)
		}
		testReleaseElsewhere(t, one, two)
	}
	if other := one.leases("--network", "other"); len(other) != 0 {
		t.Errorf("leases of another network: %+v", other)
	}
	if _, table, _ := one.run("leases"); !strings.Contains(table, "MACHINE") || !strings.Contains(table, "m1") {
		t.Errorf("table:\n%s", table)
	}
	c := shim.NewClient(one.dirs.ShimSocket())
	defer c.Close()
	if _, err := c.Attach(t.Context(), "open", "c", "eth0", shim.AttachRequest{}); shim.CodeOf(err) != shim.CodeInvalid || !strings.Contains(err.Error(), "network.subnet") {
		t.Errorf("a network without a subnet: %v", err)
	}
	testWrongEtcdFlags(t, flags)
}

// testReleaseElsewhere releases a lease of another machine, as an operator would
// who knows that the machine is gone.
func testReleaseElsewhere(t *testing.T, one, two *world) {
	t.Helper()
	if status, _, errs := two.run("leases", "release", "fleet", "c2", "eth0"); status == 0 || !strings.Contains(errs, "an attachment has it") {
		t.Errorf("release of an attachment's lease: %d %s", status, errs)
	}
	if status, _, errs := one.run("leases", "release", "fleet", "c2", "eth0"); status != 0 || len(one.leases()) != 2 {
		t.Errorf("release without --machine: %d %s: the lease is another machine's and stays", status, errs)
	}
	if status, _, errs := two.run("leases", "release", "fleet", "c2"); status == 0 || !strings.Contains(errs, "an attachment has it") {
		t.Errorf("release of a container's leases: %d %s", status, errs)
	}
	if status, _, errs := one.run("leases", "release", "--machine", "m2", "fleet", "c2"); status != 0 || len(one.leases()) != 1 {
		t.Errorf("release with --machine: %d %s", status, errs)
	}
}

// testWrongEtcdFlags starts shims that cannot start, and one that can and says
// what is wrong.
func testWrongEtcdFlags(t *testing.T, flags func(string) []string) {
	t.Helper()
	good := flags("m3")
	change := func(key, value string) []string {
		args := append([]string{"serve"}, good...)
		for i, a := range args {
			if a == key {
				args[i+1] = value
			}
		}
		return args
	}
	for text, args := range map[string][]string{
		`--ipam-store "redis": want bolt or etcd`: change("--ipam-store", "redis"),
		"endpoints: want one":                     {"serve", "--ipam-store", "etcd"},
		"no-such-file":                            change("--etcd-cacert", "no-such-file"),
		"--etcd-password-file: open no-such-file": change("--etcd-password-file", "no-such-file"),
		`machine "a/b": want no /`:                change("--machine", "a/b"),
		`no TLS, and certificates are configured`: change("--etcd-endpoints", "http://127.0.0.1:1"),
	} {
		w := newWorld(t)
		if status, _, errs := w.run(args...); status != 1 || !strings.Contains(errs, text) {
			t.Errorf("%v: %d %q, want %q", args, status, errs, text)
		}
	}
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.serve(append(change("--etcd-password-file", wrong)[1:], "--etcd-timeout", "3s")...)
	if status, _, errs := w.run("leases"); status != 1 || !strings.Contains(errs, "store is not available") || strings.Contains(errs, "wrong\n") {
		t.Errorf("with a wrong password: %d %s", status, errs)
	}
}

// TestMachineName: a name once chosen stays; a file that lost its content, as with
// the power, gets another.
func TestMachineName(t *testing.T) {
	dirs := shim.Dirs{State: t.TempDir()}
	file := filepath.Join(dirs.State, "machine")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := machineName(dirs)
	if err != nil || strings.ContainsAny(first, "/\n ") || len(first) < 10 {
		t.Fatalf("name %q, %v", first, err)
	}
	if again, err := machineName(dirs); err != nil || again != first {
		t.Errorf("then %q, %v, want %q", again, err, first)
	}
}
