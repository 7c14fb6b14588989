package tap_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// inside tells a process of this test that it is in namespaces of its own.
const inside = "VMNET_TAP_TEST_INSIDE"

// TestMain runs the tests in network and mount namespaces that are made for them,
// so that nothing of the machine's is touched, whatever fails.
func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" && os.Geteuid() == 0 {
		os.Exit(enter())
	}
	if os.Getenv(inside) != "" {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "prepare namespace:", err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

// enter runs this program again in new namespaces and returns its exit code. When
// they are refused the tests run where they are, and say what they miss.
func enter() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
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
