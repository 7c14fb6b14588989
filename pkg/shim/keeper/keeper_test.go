package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/tempdir"
	"github.com/vmnet-cni/vmnet/pkg/shim/keeper"
)

// playShim is a shim: it writes the names that it was left to a file of its life's
// number, does what its role says for that life, and ends with the status that the
// role says.
func playShim(role string) int {
	in, err := keeper.Inherited(os.Getenv)
	if err != nil || !in.Ours {
		fmt.Fprintln(os.Stderr, "inherited:", in, err)
		return 9
	}
	dir := os.Getenv("KEEPER_TEST_DIR")
	lives, _ := filepath.Glob(filepath.Join(dir, "life*"))
	var names []string
	for _, f := range in.Files {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("life%02d", len(lives))), []byte(strings.Join(names, " ")), 0o600); err != nil {
		return 9
	}
	n, err := keeper.NewNotifier(in.Notify)
	if err != nil {
		return 9
	}
	acts := strings.Split(role, ";")
	status := 0
	for act := range strings.FieldsSeq(acts[min(len(lives), len(acts)-1)]) {
		what, arg, _ := strings.Cut(act, "=")
		switch what {
		case "ready":
			err = n.Notify("READY=1")
		case "keep":
			r, w, perr := os.Pipe()
			if perr != nil {
				return 9
			}
			err = errors.Join(n.Store(arg, r), r.Close(), w.Close())
		case "drop":
			err = n.Remove(arg)
		case "stopping":
			err = n.Notify("STOPPING=1")
		case "hidden": // nobody else can connect after READY=1
			if err = n.Sync(); err == nil {
				if left, _ := filepath.Glob(filepath.Join(dir, "keeper-*")); len(left) > 0 {
					err = fmt.Errorf("there: %v", left)
				}
			}
		case "started":
			if got := os.Getenv("KEEPER_TEST_START"); got != arg {
				err = fmt.Errorf("got %q", got)
			}
		case "stranger":
			err = stranger(dir, in.Notify)
		case "flood":
			err = flood(in.Notify, n)
		case "exit":
			_, err = fmt.Sscan(arg, &status)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, act, err)
			return 9
		}
	}
	return status
}

// run runs a keeper with shims of the role until it returns, and returns what each
// life was left.
func run(t *testing.T, role string, edit func(*keeper.Config)) (lives []string, log string, err error) {
	t.Helper()
	dir, derr := tempdir.Make("kp") // sockets need a short path
	if derr != nil {
		t.Fatal(derr)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv(roleEnv, role)
	t.Setenv("KEEPER_TEST_DIR", dir)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "api"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer l.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var b strings.Builder
	cfg := keeper.Config{Program: exe, Args: []string{"serve"}, Listener: f, Dir: dir, Logf: func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&b, format+"\n", args...)
	}}
	if edit != nil {
		edit(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err = keeper.Run(ctx, cfg)
	if ctx.Err() != nil {
		t.Errorf("the keeper went on:\n%s", b.String())
	}
	files, _ := filepath.Glob(filepath.Join(dir, "life*"))
	for _, file := range files {
		data, rerr := os.ReadFile(file)
		if rerr != nil {
			t.Fatal(rerr)
		}
		lives = append(lives, string(data))
	}
	left, _ := filepath.Glob(filepath.Join(dir, "keeper*"))
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	return lives, b.String(), err
}

func TestRun(t *testing.T) {
	for _, c := range []struct {
		name, role string
		want       []string
		status     int // of an EndError; 0: none
	}{
		{"ends", "ready hidden exit=0", []string{"api keeper"}, 0},
		{"cannot start", "exit=3", []string{"api keeper"}, 3},
		{"dies", "ready keep=a keep=b exit=1; ready drop=a exit=2; ready exit=0", []string{"api keeper", "a api b keeper", "api b keeper"}, 0},
		{"dies with a message on its way", "ready keep=x exit=1; ready exit=0", []string{"api keeper", "api keeper x"}, 0},
		{"wants to be started again", "ready keep=x exit=75; ready hidden exit=0", []string{"api keeper", "api keeper x"}, 0},
		{"is not ready the second time", "ready exit=1; exit=1; ready exit=0", []string{"api keeper", "api keeper", "api keeper"}, 0},
		{"stops with an error", "ready stopping exit=1", []string{"api keeper"}, 0},
		{"replaces", "ready keep=x keep=x exit=1; ready exit=0", []string{"api keeper", "api keeper x"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			lives, log, err := run(t, c.role, nil)
			var end *keeper.EndError
			if errors.As(err, &end) && end.Status == c.status {
				err = nil
			}
			if err != nil || !slices.Equal(lives, c.want) {
				t.Errorf("lives %q, %v, want %q\n%s", lives, err, c.want, log)
			}
		})
	}
}

// TestTooManyFiles stores more than there is room for.
// Every shim is prepared for, and starts with what that says; what cannot be
// prepared is not started.
func TestPrepare(t *testing.T) {
	starts := 0
	prepare := func(c *keeper.Config) {
		c.Prepare = func() ([]string, error) {
			starts++
			return []string{fmt.Sprintf("KEEPER_TEST_START=%d", starts)}, nil
		}
	}
	lives, log, err := run(t, "started=1 ready exit=75;started=2 ready", prepare)
	if err != nil || len(lives) != 2 || starts != 2 {
		t.Errorf("%d starts, %v, %v:\n%s", starts, lives, err, log)
	}
	errNo := errors.New("no")
	lives, _, err = run(t, "ready", func(c *keeper.Config) { c.Prepare = func() ([]string, error) { return nil, errNo } })
	if !errors.Is(err, errNo) || len(lives) != 0 {
		t.Errorf("%v, %v, want no life and %v", lives, err, errNo)
	}
}

func TestTooManyFiles(t *testing.T) {
	lives, log, err := run(t, "ready keep=a keep=b keep=c exit=1; ready exit=0", func(c *keeper.Config) { c.MaxFiles = 2 })
	if err != nil || len(lives) != 2 || lives[1] != "a api b keeper" {
		t.Errorf("lives %q, %v", lives, err)
	}
	if !strings.Contains(log, "the limit") {
		t.Errorf("log without the refusal:\n%s", log)
	}
}

// flood is a shim gone wrong: bytes without sense, names that are none, and
// descriptors without end.
func flood(addr string, n *keeper.Notifier) error {
	c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(c)
	if err := unix.Connect(c, &unix.SockaddrUnix{Name: addr}); err != nil {
		return err
	}
	rights := unix.UnixRights(0, 0, 0, 0, 0, 0, 0, 0)
	for i := range 2000 {
		for _, text := range []string{
			strings.Repeat("x", 4097), strings.Repeat("\n", 4096), "FDSTORE=1\nFDNAME=a:b", "FDSTORE=1\nFDSTOREREMOVE=1\nFDNAME=a", "MAINPID=0",
			"FDSTORE=1", "FDNAME=a", fmt.Sprintf("FDSTORE=1\nFDNAME=%0128d", i),
		} {
			if err := unix.Sendmsg(c, []byte(text), rights, nil, 0); err != nil {
				return err
			}
		}
		if err := unix.Sendmsg(c, []byte("FDSTORE=1\nFDNAME=none"), nil, nil, 0); err != nil {
			return err
		}
	}
	if err := n.Sync(); err != nil {
		return err
	}
	// The keeper has what it may have, and not one more.
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", os.Getppid()))
	if err == nil && len(fds) > 800+64 {
		err = fmt.Errorf("the keeper has %d descriptors", len(fds))
	}
	if errors.Is(err, fs.ErrNotExist) { // not on macOS
		err = nil
	}
	return err
}

// TestFlood has a shim send the keeper far more than it may keep: there is a bound
// to descriptors, to their names and to the lines in the log, and the keeper goes on.
func TestFlood(t *testing.T) {
	lives, log, err := run(t, "flood ready keep=late exit=1; ready exit=0", func(c *keeper.Config) { c.MaxFiles = 800 })
	if err != nil || len(lives) != 2 {
		t.Fatalf("lives %q, %v\n%s", lives, err, log)
	}
	if kept := len(strings.Fields(lives[1])) - 2; kept < 700 || kept > 800 {
		t.Errorf("%d descriptors are kept, want at most 800, with names of 100 KiB", kept)
	}
	if lines := strings.Count(log, "\n"); lines > 64 {
		t.Errorf("%d lines in the log:\n%s", lines, log)
	}
}

func TestInherited(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"nothing":     {},
		"for another": {"LISTEN_FDS": "2", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a:b"},
	} {
		if in, err := keeper.Inherited(func(k string) string { return env[k] }); err != nil || len(in.Files) != 0 {
			t.Errorf("%s: %+v, %v", name, in, err)
		}
	}
	for name, env := range map[string]map[string]string{
		"no number": {"LISTEN_FDS": "x", "LISTEN_PID": fmt.Sprint(os.Getpid())},
		"too few":   {"LISTEN_FDS": "2", "LISTEN_PID": fmt.Sprint(os.Getpid()), "LISTEN_FDNAMES": "a"},
	} {
		if in, err := keeper.Inherited(func(k string) string { return env[k] }); err == nil {
			t.Errorf("%s: %+v, want an error", name, in)
		}
	}
}
