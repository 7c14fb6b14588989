package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/vm"
	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/internal/tempdir"
)

// bin holds the programs, built once for all tests.
var bin string

func TestMain(m *testing.M) {
	dir, remove, err := e2e.Build(false, "github.com/vmnet-cni/vmnet/conformance/demo")
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	bin = dir
	leak.Main(m, remove)
}

// nobody is a user with no rights (Debian: nobody; macOS: -2).
const nobody = 65534

// demoAs runs the demo as a user, 0 for the one who runs the test, with a
// temporary directory of its own, and checks that nothing is left there.
func demoAs(t *testing.T, uid uint32, args ...string) (out string, status int) {
	t.Helper()
	tmp, err := tempdir.Make("vmnet-demo-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conf, err := os.ReadFile("../../examples/net.d/10-shared.conflist")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "10-shared.conflist"), conf, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "demo"), append([]string{"-bin", bin, "-net-dir", bin}, args...)...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "HOME=/nonexistent", "XDG_RUNTIME_DIR=", "XDG_STATE_HOME=")
	if uid != 0 {
		if err := os.Chown(tmp, int(uid), int(uid)); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err = cmd.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return b.String(), cmd.ProcessState.ExitCode()
}

// shows checks that the demo went well, and showed what it must.
func shows(t *testing.T, out string, status int, wants ...string) {
	t.Helper()
	wants = append(wants, `"socketPath": "/`, `"mac": "`, `"mtu": 1500`, `"address": "192\.168\.`,
		`ok .* ms +DHCP .*as the CNI result says`, `ok .* gateway\.vm\.internal`, `ok .* CHECK`, `ok .* DEL`,
		`ok .* attachments +none`, `ok .* leases +none`, `ok .* shim +process`, `ok .* directory +removed`, `all went well in`)
	for _, want := range wants {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("it does not show %s", want)
		}
	}
	if status != 0 || strings.Contains(out, markFail) {
		t.Errorf("exit status %d, want 0 and no step that failed", status)
	}
	if t.Failed() {
		t.Logf("it said:\n%s", out)
	}
}

// inNamespaces are shown where there are namespaces.
var inNamespaces = []string{
	`198\.51\.100\.1 is the outside, nothing leaves`, `ok .* DNS +www\.outside\.test is 198\.51\.100\.1`,
	`ok .* HTTP +GET http://www\.outside\.test/ says "hello from outside`, `hello 192\.168\.\d+\.3, this is demo-1`, `hello 192\.168\.\d+\.2, this is demo-2`,
}

func TestDemo(t *testing.T) {
	if runtime.GOOS == "linux" && os.Geteuid() == 0 {
		require.NetNS(t)
	} else if runtime.GOOS == "linux" {
		require.UserNS(t)
	}
	wants := inNamespaces
	if runtime.GOOS != "linux" {
		wants = nil
	}
	out, status := demoAs(t, 0)
	shows(t, out, status, wants...)
}

func TestDemoUnprivileged(t *testing.T) {
	require.Root(t) // to become somebody else
	require.UserNS(t)
	out, status := demoAs(t, nobody)
	shows(t, out, status, append(inNamespaces, `an unprivileged user, uid 65534`)...)
}

// TestDemoOnHost is the way where there are no namespaces.
func TestDemoOnHost(t *testing.T) {
	if w := hostWorld("test"); w.url == "" {
		t.Skip(w.why)
	} else {
		w.close()
	}
	out, status := demoAs(t, 0, "-host")
	shows(t, out, status, `this machine itself`, `-- .* names of the outside are left out`, `ok .* HTTP +GET http://.* says "hello from outside`)
}

func TestDemoVM(t *testing.T) {
	require.QEMU(t)
	require.NetNS(t)
	if err := findVM(); err != nil {
		if !errors.Is(err, vm.ErrMissing) || strings.Contains(os.Getenv(require.Env), "qemu") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	k, err := vm.FindKernel()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(vm.KernelEnv, filepath.Dir(filepath.Dir(k.Image))) // the demo has another HOME
	out, status := demoAs(t, 0, "-vm")
	shows(t, out, status, `console +│ lease address=192\.168\.\d+\.2/24`, `ok .* boot +Linux`,
		`console +│ +hello from outside`, `ok .* http\.outside`, `ok .* power off`)
}

func TestBadCalls(t *testing.T) {
	for _, c := range []struct {
		args, want string
		status     int
	}{
		{"-nonsense", "flag provided but not defined", 2},
		{"word", `argument "word"`, 2},
		{"-host -bin /none", "program vmnet", 1},
		{"-host -net-dir /none", "/none/10-shared.conflist", 1},
	} {
		out, status := demoAs(t, 0, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit status %d, want %d and %q in\n%s", c.args, status, c.status, c.want, out)
		}
	}
	t.Setenv("PATH", "/none")
	t.Setenv(vm.KernelEnv, "/none")
	out, status := demoAs(t, 0, "-vm")
	if status != 2 || !strings.Contains(out, "apt-get install qemu-system-x86") || !strings.Contains(out, "deps.sh") {
		t.Errorf("-vm without QEMU: exit status %d, want 2 and how to get it:\n%s", status, out)
	}
}
