package shim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/tempdir"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// playShim is a program started as the shim: "serve" answers status with its
// process ID until SIGTERM, "fail" ends at once, "hang" never accepts, "leave" ends
// as an idle shim does, and "leave twice" serves from the third start on.
func playShim(role string) int {
	if role == "fail" {
		fmt.Fprintln(os.Stderr, "no driver works here")
		return 3
	}
	starts, err := os.OpenFile(filepath.Join(os.Getenv("VMNET_STATE_DIR"), "starts"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return 1
	}
	fmt.Fprintln(starts, os.Getpid())
	data, _ := os.ReadFile(starts.Name())
	if n := len(strings.Fields(string(data))); role == "leave" || role == "leave twice" && n <= 2 {
		return 0
	}
	if role == "hang" {
		time.Sleep(time.Hour) // the test kills it; a bare select is a deadlock to the runtime
	}
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return 1
	}
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sid, _, _ := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
		_ = json.NewEncoder(w).Encode(shim.Status{PID: os.Getpid(), Version: fmt.Sprint(int(sid) == os.Getpid(), os.Getenv("CNI_COMMAND") == "")})
	}))
	return 0
}

// playCaller calls Ensure and prints the process ID of the shim it found.
func playCaller() int {
	os.Setenv(roleEnv, "serve") // for the shim that it may start
	c, err := shim.Ensure(context.Background(), shim.EnsureConfig{Spawn: true, Binary: os.Getenv("SHIM_TEST_BINARY"), Timeout: patience})
	if err == nil {
		var s shim.Status
		if s, err = c.Status(context.Background()); err == nil {
			fmt.Println(s.PID)
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// patience is how long a test waits for what must come.
const patience = time.Minute

// testDirs returns short directories that end with the test, and so do the
// shims that were started in them.
func testDirs(t *testing.T) shim.Dirs {
	t.Helper()
	base, err := tempdir.Make("shim")
	if err != nil {
		t.Fatal(err)
	}
	d := shim.Dirs{Runtime: filepath.Join(base, "r"), State: filepath.Join(base, "s")}
	t.Cleanup(func() {
		for _, pid := range starts(t, d) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		os.RemoveAll(base)
	})
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	return d
}

// starts returns the process IDs of the shims that were started.
func starts(t *testing.T, d shim.Dirs) []int {
	t.Helper()
	data, _ := os.ReadFile(filepath.Join(d.State, "starts"))
	var pids []int
	for _, f := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func TestEnsureStartsOnce(t *testing.T) {
	d := testDirs(t)
	const callers = 32
	var wg sync.WaitGroup
	var pids sync.Map
	for range callers {
		wg.Go(func() {
			// Pipes, as libcni gives: Output returns only when nobody holds them.
			cmd := exec.Command(self(t))
			cmd.Env = append(os.Environ(), roleEnv+"=ensure", "SHIM_TEST_BINARY="+self(t), "CNI_COMMAND=ADD",
				"VMNET_RUNTIME_DIR="+d.Runtime, "VMNET_STATE_DIR="+d.State)
			out, err := cmd.Output()
			if err != nil {
				var ee *exec.ExitError
				if errors.As(err, &ee) {
					err = fmt.Errorf("%w: %s", err, ee.Stderr)
				}
				t.Errorf("caller: %v", err)
			}
			pids.Store(strings.TrimSpace(string(out)), true)
		})
	}
	wg.Wait()
	if n := len(starts(t, d)); n != 1 {
		t.Errorf("%d shims were started by %d callers, want 1", n, callers)
	}
	n := 0
	pids.Range(func(pid, _ any) bool { t.Log("shim", pid); n++; return true })
	if n != 1 {
		t.Errorf("the callers reached %d shims, want 1", n)
	}
	c := shim.NewClient(d.ShimSocket())
	defer c.Close()
	s, err := c.Status(t.Context())
	if err != nil || s.Version != "true true" {
		t.Errorf("own session, no CNI variables: %q, %v, want true true", s.Version, err)
	}
	fi, err := os.Stat(d.ShimSocket())
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v, want mode 0600", fi.Mode(), err)
	}
}

func TestEnsureFinds(t *testing.T) {
	d := testDirs(t)
	serveFake(t, d)
	c, err := shim.Ensure(t.Context(), shim.EnsureConfig{Dirs: d}) // without Spawn
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := shim.Listen(t.Context(), d.ShimSocket()); !errors.Is(err, shim.ErrRunning) {
		t.Errorf("listen beside it: %v, want ErrRunning", err)
	}
}

// serveFake answers on d's socket until the test ends.
func serveFake(t *testing.T, d shim.Dirs) {
	t.Helper()
	l, err := shim.Listen(t.Context(), d.ShimSocket())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") })}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() { srv.Close(); wg.Wait() })
}

func TestEnsureReplacesStaleSocket(t *testing.T) {
	d := testDirs(t)
	l, err := shim.Listen(t.Context(), d.ShimSocket())
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // and the file stays, as after kill -9
	t.Setenv(roleEnv, "serve")
	c, err := shim.Ensure(t.Context(), shim.EnsureConfig{Dirs: d, Binary: self(t), Spawn: true, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, d, c)
	if n := len(starts(t, d)); n != 1 {
		t.Errorf("%d shims were started, want 1", n)
	}
}

// stop ends the shims of d, which this process started, so that the goroutines
// that wait for them end.
func stop(t *testing.T, d shim.Dirs, c *shim.Client) {
	c.Close()
	for _, pid := range starts(t, d) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestClientRevives(t *testing.T) {
	d := testDirs(t)
	t.Setenv(roleEnv, "serve")
	c, err := shim.Ensure(t.Context(), shim.EnsureConfig{Dirs: d, Binary: self(t), Spawn: true, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, d, c)
	first, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second, err := c.Status(t.Context())
	if err != nil || second.PID == first.PID {
		t.Errorf("after the shim died: process %d, %v, want a new one", second.PID, err)
	}
}

func TestEnsureRefuses(t *testing.T) {
	tests := []struct {
		name string
		role string
		cfg  func(d shim.Dirs) shim.EnsureConfig
		code shim.Code
		is   error
		text string
	}{
		{"no spawn", "serve", func(d shim.Dirs) shim.EnsureConfig { return shim.EnsureConfig{Dirs: d} },
			shim.CodeUnavailable, shim.ErrNotRunning, "shim.spawn is false"},
		{"child fails", "fail", func(d shim.Dirs) shim.EnsureConfig {
			return shim.EnsureConfig{Dirs: d, Spawn: true, Binary: self(t), Timeout: patience}
		}, shim.CodeUnavailable, nil, "exit status 3: no driver works here"},
		{"child leaves", "leave", func(d shim.Dirs) shim.EnsureConfig {
			return shim.EnsureConfig{Dirs: d, Spawn: true, Binary: self(t), Timeout: patience}
		}, shim.CodeUnavailable, nil, "ended; see "},
		{"child hangs", "hang", func(d shim.Dirs) shim.EnsureConfig {
			return shim.EnsureConfig{Dirs: d, Spawn: true, Binary: self(t), Timeout: time.Second}
		}, shim.CodeUnavailable, context.DeadlineExceeded, "no answer in time (at most 1s)"},
		{"binary is relative", "serve", func(d shim.Dirs) shim.EnsureConfig {
			return shim.EnsureConfig{Dirs: d, Spawn: true, Binary: "vmnet-shim"}
		}, shim.CodeInvalid, nil, `shim.binary "vmnet-shim": want an absolute path`},
		{"binary is missing", "serve", func(d shim.Dirs) shim.EnsureConfig {
			return shim.EnsureConfig{Dirs: d, Spawn: true, Binary: "/nowhere/vmnet-shim"}
		}, shim.CodeInvalid, nil, "no such file"},
		{"binary is a directory", "serve", func(d shim.Dirs) shim.EnsureConfig {
			return shim.EnsureConfig{Dirs: d, Spawn: true, Binary: "/tmp"}
		}, shim.CodeInvalid, nil, "want an executable file"},
		{"binary is nowhere", "serve", func(d shim.Dirs) shim.EnsureConfig { return shim.EnsureConfig{Dirs: d, Spawn: true} },
			shim.CodeUnavailable, nil, "not beside the plugin, in CNI_PATH or in PATH"},
		{"address is relative", "serve", func(d shim.Dirs) shim.EnsureConfig {
			return shim.EnsureConfig{Dirs: d, Address: "shim.sock"}
		}, shim.CodeInvalid, nil, `shim.address "shim.sock"`},
		{"address is too long", "serve", func(d shim.Dirs) shim.EnsureConfig {
			return shim.EnsureConfig{Dirs: d, Spawn: true, Binary: self(t), Address: "/" + strings.Repeat("x", 103)}
		}, shim.CodeInvalid, nil, "104 bytes, want at most 103"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := testDirs(t)
			t.Setenv(roleEnv, tt.role)
			t.Setenv("PATH", t.TempDir())
			_, err := shim.Ensure(t.Context(), tt.cfg(d))
			if shim.CodeOf(err) != tt.code || !strings.Contains(fmt.Sprint(err), tt.text) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %v (%s), want %s with %q that is %v", err, shim.CodeOf(err), tt.code, tt.text, tt.is)
			}
			for end := time.Now().Add(patience); tt.role == "hang" && len(starts(t, d)) == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) { // its process ID is needed to end it
					t.Fatal("the child that hangs did not start")
				}
			}
			for _, pid := range starts(t, d) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
	}
}

// TestEnsureStartsAgain has a shim leave before it is asked anything, as one does
// that was idle for longer than it took to ask: another is started.
func TestEnsureStartsAgain(t *testing.T) {
	d := testDirs(t)
	t.Setenv(roleEnv, "leave twice")
	c, err := shim.Ensure(t.Context(), shim.EnsureConfig{Dirs: d, Binary: self(t), Spawn: true, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, d, c)
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(starts(t, d)); n != 3 {
		t.Errorf("%d shims were started, want 3", n)
	}
}

// TestRepeatsOnce has a server that closes the first connection without an
// answer, as a shim that leaves does.
func TestRepeatsOnce(t *testing.T) {
	d := testDirs(t)
	l, err := shim.Listen(t.Context(), d.ShimSocket())
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int32
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if requests.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"mac":"02:00:00:00:00:01"}`)
	})}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	defer wg.Wait()
	defer srv.Close()
	c := shim.NewClient("unix://" + d.ShimSocket())
	defer c.Close()
	a, err := c.Attach(t.Context(), "n", "c", "e", shim.AttachRequest{})
	if err != nil || a.MAC == "" || requests.Load() != 2 {
		t.Errorf("got %v, %v after %d requests, want an attachment after 2", a.MAC, err, requests.Load())
	}
}

func TestUnlistenLeavesSuccessor(t *testing.T) {
	d := testDirs(t)
	old, err := shim.Listen(t.Context(), d.ShimSocket())
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Lstat(d.ShimSocket())
	if err != nil {
		t.Fatal(err)
	}
	if gone, err := shim.Unlisten(t.Context(), old, own, func() bool { return false }); gone || err != nil {
		t.Fatalf("removed %v, %v, although may said no", gone, err)
	}
	old.Close()
	next, err := shim.Listen(t.Context(), d.ShimSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if _, err := shim.Unlisten(t.Context(), old, own, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(d.ShimSocket()); err != nil {
		t.Errorf("the successor's socket: %v, want it to be there", err)
	}
}
