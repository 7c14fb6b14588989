package e2e_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/conformance/vm/vmtest"
	"github.com/vmnet-cni/vmnet/internal/reference"
	"github.com/vmnet-cni/vmnet/internal/require"
)

// TestExampleQEMUTap boots a real guest on a tap, in a namespace of its own.
func TestExampleQEMUTap(t *testing.T) {
	vmtest.Need(t)
	require.Root(t)
	require.Tool(t, "nft")
	withPrograms(t)
	ns := newNamespace(t)
	ns.script(t, "ip link set lo up")
	w := netstack()
	w.do = ns.do
	m := w.machine(t, nil)
	if err := ns.do(func() error { runQEMU(t, m, "tap.sh"); return nil }); err != nil {
		t.Fatal(err)
	}
}

// TestExampleCnitool runs every verb, with a cache of its own.
func TestExampleCnitool(t *testing.T) {
	require.Root(t)
	require.NetNS(t) // and so mount namespaces
	withPrograms(t, reference.Install(t, reference.CNITool))
	m := newMachine(t, nil)
	cmd := exec.CommandContext(soon(t), "sh", "-ec", `mount --make-rprivate /; mount -t tmpfs tmpfs /var/lib; exec "$1"`, "sh", example(t, "cnitool/run.sh"))
	cmd.Dir = filepath.Dir(example(t, "cnitool/run.sh"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := m.Run(cmd); err != nil {
		t.Fatalf("%v: %s%s", err, &stdout, &stderr)
	}
	for _, want := range []string{`"socketPath": "/`, `"mtu": 1500`, `"address": "192.168.`, "shared", "cnitool-"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %s in:\n%s", want, &stdout)
		}
	}
	if n := attachments(t, m); n != 0 {
		t.Errorf("%d attachments are left", n)
	}
}
