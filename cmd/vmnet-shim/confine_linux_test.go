package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// playConfined confines itself to the directory dir/in and then tries what it must
// not be able to do.
func playConfined(dir string) int {
	if os.Getenv(confinedEnv) == "" {
		if abi, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); e != 0 || abi < 3 {
			return 77
		}
		c := confinement{write: []string{filepath.Join(dir, "in"), "/dev/null"}}
		fmt.Println(c.startAgain())
		return 1
	}
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	status := 0
	may := func(what string, err error) {
		if err != nil {
			fmt.Println(what, err)
			status = 1
		}
	}
	mayNot := func(what string, err error) {
		if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EXDEV) {
			fmt.Println(what, err)
			status = 1
		}
	}
	may("write inside", os.WriteFile(filepath.Join(in, "a"), []byte("x"), 0o600))
	may("replace inside", os.Rename(filepath.Join(in, "a"), filepath.Join(in, "b")))
	may("truncate inside", os.Truncate(filepath.Join(in, "b"), 0))
	may("remove inside", os.Remove(filepath.Join(in, "b")))
	_, err := os.ReadFile("/proc/self/status")
	may("read outside", err)
	mayNot("write outside", os.WriteFile(filepath.Join(out, "a"), nil, 0o600))
	mayNot("write a file that is there", os.WriteFile(filepath.Join(out, "old"), nil, 0o600))
	mayNot("truncate outside", os.Truncate(filepath.Join(out, "old"), 0))
	mayNot("remove outside", os.Remove(filepath.Join(out, "old")))
	mayNot("link outside", os.Symlink("/", filepath.Join(out, "link")))
	mayNot("move outside", os.Rename(filepath.Join(out, "old"), filepath.Join(in, "new")))
	mayNot("mount", syscall.Mount("x", in, "tmpfs", 0, ""))
	done := make(chan error)
	go func() { done <- os.WriteFile(filepath.Join(out, "thread"), nil, 0o600) }() // another thread, perhaps
	mayNot("write outside from elsewhere", <-done)
	return status
}

func TestConfinedWrites(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"in", "out"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "out", "old"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	cmd := w.cmd()
	cmd.Env = append(os.Environ(), confineEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	var ee *exec.ExitError
	if errors.As(err, &ee) && ee.ExitCode() == 77 {
		t.Skip("this kernel has no landlock")
	}
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

// Every thread of root's shim has given up what it does not need.
func TestConfinedShim(t *testing.T) {
	require.Root(t)
	const all = 1<<(unix.CAP_LAST_CAP+1) - 1
	for _, c := range []struct {
		args []string
		may  uint64
	}{
		{nil, tapCaps | ownerCaps},
		{[]string{"--drivers", "netstack"}, 0},
		{[]string{"--drivers", "netstack", "--group", "0"}, ownerCaps},
		{[]string{"--drivers", "netstack,tap"}, 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_BIND_SERVICE},
		{[]string{"--confine=false"}, all},
	} {
		args := append([]string{"serve"}, c.args...)
		t.Run(strings.Join(args, " "), func(t *testing.T) { confinedTo(t, args, c.may) })
		// A keeper starts it with what is left, on a thread of the keeper's.
		args = append([]string{"keep", "--"}, args...)
		t.Run(strings.Join(args, " "), func(t *testing.T) { confinedTo(t, args, c.may) })
	}
}

func confinedTo(t *testing.T, args []string, may uint64) {
	w := newWorld(t)
	cmd := w.cmd(args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.eventually("the shim serves", func() bool { s, _, _ := w.run("inspect"); return s == 0 })
	c := shim.NewClient(w.dirs.ShimSocket())
	if _, err := c.Attach(t.Context(), "n", "c", "eth0", shim.AttachRequest{}); err != nil {
		t.Error(err)
	}
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.PID))
	if err != nil || len(tasks) == 0 {
		t.Fatal(tasks, err)
	}
	for _, task := range tasks {
		if err := threadIs(task, may); err != nil {
			t.Errorf("%s: %v", task, err)
		}
	}
	if err := c.Detach(t.Context(), "n", "c", "eth0"); err != nil {
		t.Error(err)
	}
	c.Close()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestIsOwn(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !isOwn(exe) || isOwn("/bin/sh") || isOwn(filepath.Join(t.TempDir(), "no")) {
		t.Errorf("%s %t, /bin/sh %t", exe, isOwn(exe), isOwn("/bin/sh"))
	}
}

// threadIs checks the capabilities of a thread: those of may, as far as the test
// itself has them, and no others.
func threadIs(status string, may uint64) error {
	text, err := os.ReadFile(status)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return nil // the thread has ended
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		switch key {
		case "NoNewPrivs":
			if confined := may <= tapCaps|ownerCaps; (value == "1") != confined {
				return fmt.Errorf("NoNewPrivs %s", value)
			}
		case "CapEff", "CapPrm":
			n, err := strconv.ParseUint(value, 16, 64)
			if err != nil {
				return err
			}
			if n != may&ownCaps() {
				return fmt.Errorf("%s %x, want %x", key, n, may&ownCaps())
			}
		}
	}
	return nil
}

// ownCaps are the capabilities of this process.
func ownCaps() uint64 {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&hdr, &data[0]) != nil {
		return 0
	}
	return uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32
}
