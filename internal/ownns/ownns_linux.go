package ownns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/require"
)

// env tells a process that it is in namespaces of its own.
const env = "VMNET_TEST_OWNNS"

// Enter is called first in TestMain. In root's process it runs this program again
// in new namespaces and ends with its exit code; in that one, and where the user is
// not root, it returns.
func Enter() {
	switch {
	case os.Getenv(env) != "":
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "prepare namespace:", err)
			os.Exit(1)
		}
	case os.Geteuid() == 0:
		os.Exit(enter())
	}
}

// Needs skips a test that is not in namespaces of its own.
func Needs(t testing.TB) {
	t.Helper()
	require.Root(t)
	require.NetNS(t)
	if os.Getenv(env) == "" {
		t.Fatal("TestMain has not called ownns.Enter")
	}
}

// enter runs this program again in new namespaces and returns its exit code.
func enter() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), env+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	// The child is killed when the thread that made it ends (PR_SET_PDEATHSIG), which
	// may be before the process does.
	runtime.LockOSThread()
	signal.Ignore(os.Interrupt)
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "run in new namespaces:", err)
	return 1
}

// prepare mounts a sysfs that shows the new namespace, and starts its loopback.
func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}
