package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// TestSocketActivation starts the shim as packaging/systemd does: systemd's own
// program listens, and what it starts has no capability at all. The first request
// starts the shim, which attaches a guest with driver netstack and leaves the socket
// to whoever listened.
func TestSocketActivation(t *testing.T) {
	require.Root(t)
	activate, setpriv := require.Tool(t, "systemd-socket-activate"), require.Tool(t, "setpriv")
	self, err := os.Executable()
	must(t, err)
	w := newWorld(t)
	must(t, os.Mkdir(w.dirs.Runtime, 0o711))
	must(t, os.Chmod(w.dirs.Runtime, 0o711))
	cmd := exec.Command(activate, "-l", w.dirs.ShimSocket(), "--fdname=vmnet-shim.socket", "-E", "VMNET_RUNTIME_DIR", "-E", "VMNET_STATE_DIR", "-E", mainEnv,
		setpriv, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", self, "serve")
	cmd.Env = append(os.Environ(), mainEnv+"=1", "VMNET_RUNTIME_DIR="+w.dirs.Runtime, "VMNET_STATE_DIR="+w.dirs.State)
	must(t, cmd.Start())
	t.Cleanup(func() { // before the world ends
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	c := shim.NewClient(w.dirs.ShimSocket())
	defer c.Close()
	var s shim.Status
	w.eventually("systemd-socket-activate listens", func() bool { // the file is there before that
		s, err = c.Status(t.Context())
		return !errors.Is(err, shim.ErrNotRunning)
	})
	must(t, err)
	if s.PID != cmd.Process.Pid {
		t.Errorf("the shim is process %d, want %d: systemd would take another for it", s.PID, cmd.Process.Pid)
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(s.PID) + "/status")
	must(t, err)
	if !strings.Contains(string(status), "CapEff:\t0000000000000000\n") || !strings.Contains(string(status), "CapBnd:\t0000000000000000\n") {
		t.Errorf("it has capabilities:\n%s", status)
	}
	spec := shim.NetworkSpec{Mode: vmnet.Shared, Driver: shim.DriverNetstack}
	a, err := c.Attach(t.Context(), "n", "c", "eth0", shim.AttachRequest{Network: spec})
	must(t, err)
	if _, err := os.Stat(a.SocketPath); err != nil {
		t.Error(err)
	}
	// The doctor finds nothing wrong with it.
	_, out, errs := w.run("doctor", "--output", "json")
	var report struct {
		Findings []struct{ Check, Level, What string } `json:"findings"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v: %s %s", err, out, errs)
	}
	for _, f := range report.Findings {
		// Links and tables of other shims on this machine are not this test's.
		if f.Level == "wrong" && (f.Check == "shim" || f.Check == "directories") {
			t.Errorf("%s: %s", f.Check, f.What)
		}
	}
	must(t, c.Detach(t.Context(), "n", "c", "eth0"))
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	must(t, cmd.Wait())
	if _, err := os.Stat(w.dirs.ShimSocket()); err != nil {
		t.Errorf("the socket is systemd's to remove: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
