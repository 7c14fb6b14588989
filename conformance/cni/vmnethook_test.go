package cni_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// vmnetHook is the program behind Inventory and Drift. Its environment says which
// shim is meant.
func vmnetHook(role string) int {
	run := os.Getenv("VMNET_RUNTIME_DIR")
	ctx, cancel := context.WithTimeout(context.Background(), hookTime)
	defer cancel()
	do := vmnetDrift
	if role == "vmnet-list" {
		do = vmnetList
	}
	err := do(ctx, run)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return 77
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// hookTime bounds a hook, on a machine that has much else to do.
const hookTime = time.Minute

// vmnetList prints what the shim holds: nothing, where none runs.
func vmnetList(ctx context.Context, run string) error {
	c, err := reach(ctx, run)
	if errors.Is(err, shim.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := c.Attachments(ctx)
	for _, a := range all {
		fmt.Println(a.Network, a.ContainerID, a.IfName)
	}
	return err
}

// reach returns a client of the shim with that runtime directory, and starts none.
func reach(ctx context.Context, run string) (*shim.Client, error) {
	return shim.Ensure(ctx, shim.EnsureConfig{Address: filepath.Join(run, "shim.sock"), Timeout: hookTime})
}

// vmnetDrift does what CNI_DRIFT says.
func vmnetDrift(ctx context.Context, run string) error {
	pidFile := filepath.Join(run, "pid")
	switch what := os.Getenv("CNI_DRIFT"); what {
	case "daemon-stop", "daemon-hang":
		st, err := statusOf(ctx, run)
		if err != nil {
			return err
		}
		if what == "daemon-stop" {
			return endShim(ctx, st)
		}
		if err := os.WriteFile(pidFile, []byte(strconv.Itoa(st.PID)), 0o600); err != nil {
			return err
		}
		return signalled(ctx, st.PID, syscall.SIGSTOP, "T")
	case "daemon-start": // the plugin does that
		return nil
	case "daemon-resume":
		raw, err := os.ReadFile(pidFile)
		if err != nil {
			return err
		}
		pid, err := strconv.Atoi(string(raw))
		if err != nil {
			return err
		}
		return syscall.Kill(pid, syscall.SIGCONT)
	case "socket", "interface", "reservation":
		return vmnetTake(ctx, run, what)
	}
	return errors.ErrUnsupported
}

// vmnetTake takes an attachment, or its socket, away.
func vmnetTake(ctx context.Context, run, what string) error {
	c, err := reach(ctx, run)
	if err != nil {
		return err
	}
	defer c.Close()
	network, id, ifname := os.Getenv("CNI_NETWORK"), os.Getenv("CNI_CONTAINERID"), os.Getenv("CNI_IFNAME")
	if what != "socket" {
		return c.Detach(ctx, network, id, ifname)
	}
	a, err := c.Attachment(ctx, network, id, ifname)
	if err != nil {
		return err
	}
	if a.SocketPath == "" {
		return errors.ErrUnsupported
	}
	return os.Remove(a.SocketPath)
}

func statusOf(ctx context.Context, run string) (shim.Status, error) {
	c, err := reach(ctx, run)
	if err != nil {
		return shim.Status{}, err
	}
	defer c.Close()
	return c.Status(ctx)
}

// signalled sends a signal and waits until the process is in that state of
// proc(5), or gone: until then it may still answer.
func signalled(ctx context.Context, pid int, sig syscall.Signal, state string) error {
	if err := syscall.Kill(pid, sig); err != nil {
		return err
	}
	for ctx.Err() == nil {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") "+state+" ") {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return ctx.Err()
}

// endShim kills shim and keeper. The shim is stopped first, or it would start
// another keeper.
func endShim(ctx context.Context, st shim.Status) error {
	if err := signalled(ctx, st.PID, syscall.SIGSTOP, "T"); err != nil {
		return err
	}
	if err := signalled(ctx, st.Keeper, syscall.SIGKILL, "Z"); err != nil {
		return err
	}
	return signalled(ctx, st.PID, syscall.SIGKILL, "Z")
}

// stopShim ends the shim that the plugin started, if it still runs.
func stopShim(run string) {
	ctx, cancel := context.WithTimeout(context.Background(), hookTime)
	defer cancel()
	if st, err := statusOf(ctx, run); err == nil {
		_ = endShim(ctx, st)
	}
}
