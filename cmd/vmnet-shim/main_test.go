package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/internal/tempdir"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// The test binary plays the program when mainEnv is set.
const mainEnv = "VMNET_SHIM_TEST_MAIN"

// The test binary confines itself to the directory named by confineEnv.
const confineEnv = "VMNET_SHIM_TEST_CONFINE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(confineEnv); dir != "" {
		os.Exit(playConfined(dir))
	}
	if os.Getenv(mainEnv) != "" {
		main()
	}
	leak.Main(m, nil)
}

const patience = time.Minute

// A world is a pair of directories, and the shim that may run in them.
type world struct {
	t    *testing.T
	dirs shim.Dirs
}

func newWorld(t *testing.T) *world {
	t.Helper()
	base, err := tempdir.Make("vc")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t, shim.Dirs{Runtime: filepath.Join(base, "r"), State: filepath.Join(base, "s")}}
	t.Cleanup(func() {
		w.end()
		os.RemoveAll(base)
	})
	return w
}

// end stops the shim, if one runs, and waits until it is gone.
func (w *world) end() {
	c := shim.NewClient(w.dirs.ShimSocket())
	defer c.Close()
	s, err := c.Status(context.Background()) // the test's own context has ended
	if err != nil {
		return
	}
	_ = syscall.Kill(s.PID, syscall.SIGTERM)
	w.eventually("the shim ends", func() bool { return errors.Is(syscall.Kill(s.PID, 0), syscall.ESRCH) || zombie(s.PID) })
}

// zombie reports whether a process has ended and its parent has not looked yet.
func zombie(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := bytes.Cut(data, []byte(") "))
	return err == nil && bytes.HasPrefix(rest, []byte("Z"))
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// cmd returns the program as a command.
func (w *world) cmd(args ...string) *exec.Cmd {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), mainEnv+"=1", "VMNET_RUNTIME_DIR="+w.dirs.Runtime, "VMNET_STATE_DIR="+w.dirs.State)
	return cmd
}

// run runs the program and returns its status and output.
func (w *world) run(args ...string) (status int, stdout, stderr string) {
	w.t.Helper()
	var out, errs bytes.Buffer
	cmd := w.cmd(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		w.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestRun(t *testing.T) {
	w := newWorld(t)
	status, out, errs := w.run("run", "--network", "n", "--id", "c1", "--mac", "02:00:00:00:00:09", "--ip", "10.5.5.9", "--subnet", "10.5.5.0/24", "--", "sh", "-c",
		`echo $VMNET_FD $VMNET_KIND $VMNET_MAC $VMNET_MTU $VMNET_MAX_FRAME_SIZE $VMNET_IP $VMNET_GATEWAY $VMNET_IP6 $VMNET_GATEWAY6 $VMNET_DNS $VMNET_NETWORK $VMNET_CONTAINER_ID $VMNET_IFNAME; test -S /dev/fd/3 && echo socket; exit 7`)
	want := "3 dgram 02:00:00:00:00:09 1500 1514 10.5.5.9/24 10.5.5.1 ULA::2/64 ULA::1 10.5.5.1,ULA::1 n c1 eth0\nsocket\n"
	out = regexp.MustCompile(`fd[0-9a-f:]*?::`).ReplaceAllString(out, "ULA::") // it depends on the user
	if status != 7 || out != want {
		t.Errorf("status %d, output %q, %s\nwant 7, %q", status, out, errs, want)
	}
	status, out, errs = w.run("ls", "-o", "json")
	if status != 0 || strings.TrimSpace(out) != "[]" {
		t.Errorf("then ls: %d %q %s, want nothing left", status, out, errs)
	}
	if log, err := os.ReadFile(w.dirs.LogFile()); err != nil || !strings.Contains(string(log), "detached") {
		t.Errorf("log %q, %v", log, err)
	}
}

func TestRunForwardsSignals(t *testing.T) {
	w := newWorld(t)
	cmd := w.cmd("run", "--", "sh", "-c", `trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a service manager would
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 9 {
		t.Errorf("status %d, want 9", status)
	}
	if _, out, _ := w.run("ls", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("left %s", out)
	}
}

func TestRunStatus(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name   string
		args   []string
		status int
		text   string
	}{
		{"killed", []string{"run", "--", "sh", "-c", "kill -KILL $$"}, 137, ""},
		{"no program", []string{"run"}, 1, "want a program"},
		{"not found", []string{"run", "--", "no-such-program"}, 1, "not found"},
		{"flag", []string{"run", "--mode", "nat", "--", "true"}, 1, `mode "nat"`},
		{"subnet", []string{"run", "--subnet", "10", "--", "true"}, 1, `--subnet "10"`},
		{"refused", []string{"run", "--mac", "01:00:00:00:00:00", "--", "true"}, 1, "is a group address"},
		{"output", []string{"ls", "-o", "yaml"}, 1, "want table or json"},
		{"inspect", []string{"inspect", "a", "b"}, 1, "want nothing, a network, or"},
		{"unknown", []string{"conjure"}, 1, `command "conjure": unknown`},
		{"serve twice", []string{"serve"}, 1, "a shim is running already"},
		{"log level", []string{"serve", "--log-level", "loud"}, 1, `--log-level "loud"`},
		{"log size", []string{"serve", "--max-log", "1KiB"}, 1, `--max-log "1KiB": want a size from 64KiB`},
		{"listen fd", []string{"serve", "--listen-fd", "1"}, 1, "--listen-fd 1: want 3 or more"},
		{"nothing there", []string{"inspect", "none"}, 1, "network none"},
	}
	if status, _, errs := w.run("run", "--", "true"); status != 0 { // starts the shim
		t.Fatal(errs)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, _, errs := w.run(tt.args...)
			if status != tt.status || !strings.Contains(errs, tt.text) {
				t.Errorf("status %d, %q, want %d with %q", status, errs, tt.status, tt.text)
			}
		})
	}
}

func TestNoShim(t *testing.T) {
	w := newWorld(t)
	if err := w.dirs.Prepare(); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"ls"}, {"inspect"}, {"run", "--no-spawn", "--", "true"}} {
		status, _, errs := w.run(args...)
		if status != 1 || !strings.Contains(errs, "no shim is running") && !strings.Contains(errs, "nobody listens") {
			t.Errorf("%v: %d %q, want 1 and that no shim runs", args, status, errs)
		}
	}
}

// TestServe has a shim end with SIGTERM and come back.
func TestServe(t *testing.T) {
	w := newWorld(t)
	serve := func() *exec.Cmd {
		cmd := w.cmd("serve")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.eventually("the shim serves", func() bool { s, _, _ := w.run("inspect"); return s == 0 })
		return cmd
	}
	first := serve()
	c := shim.NewClient(w.dirs.ShimSocket())
	defer c.Close()
	a, err := c.Attach(t.Context(), "n", "c1", "eth0", shim.AttachRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := w.run("ls")
	for _, text := range []string{"NETWORK", "n ", "c1", "netstack", "shared", a.MAC, a.IPs[0].Address.String()} {
		if !strings.Contains(table, text) {
			t.Errorf("ls does not have %q:\n%s", text, table)
		}
	}
	if _, one, _ := w.run("inspect", "n", "c1", "eth0"); !strings.Contains(one, "socketPath") {
		t.Errorf("inspect:\n%s", one)
	}
	_ = first.Process.Signal(syscall.SIGTERM)
	if err := first.Wait(); err != nil {
		t.Errorf("SIGTERM: %v, want status 0", err)
	}
	second := serve()
	var list []shim.Attachment
	_, out, _ := w.run("ls", "-o", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0].MAC != a.MAC || list[0].IPs[0] != a.IPs[0] {
		t.Errorf("after a restart: %s, %v", out, err)
	}
	_ = second.Process.Signal(syscall.SIGINT)
	if err := second.Wait(); err != nil {
		t.Errorf("SIGINT: %v, want status 0", err)
	}
}

// TestInheritedPipe has a caller that left a pipe open in the process that
// starts the shim: it ends with that process.
func TestInheritedPipe(t *testing.T) {
	w := newWorld(t)
	r, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := w.cmd("run", "--", "true")
	cmd.ExtraFiles = []*os.File{nil, nil, pw} // fd 5
	err = cmd.Run()
	pw.Close()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.SetReadDeadline(time.Now().Add(patience))
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read: %v, want the end, since the shim must not hold the pipe", err)
	}
}

func TestGroup(t *testing.T) {
	require.Root(t)
	w := newWorld(t)
	cmd := w.cmd("serve", "--group", "65534")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }()
	w.eventually("the shim serves", func() bool { s, _, _ := w.run("inspect"); return s == 0 })
	fi, err := os.Stat(w.dirs.ShimSocket())
	if err != nil {
		t.Fatal(err)
	}
	if gid := fi.Sys().(*syscall.Stat_t).Gid; gid != 65534 || fi.Mode().Perm() != 0o660 {
		t.Errorf("socket: group %d, mode %v, want 65534 and 0660", gid, fi.Mode())
	}
	if status, _, errs := w.run("serve", "--group", "no-such-group"); status == 0 {
		t.Errorf("no such group: %s", errs)
	}
}

func TestVersion(t *testing.T) {
	w := newWorld(t)
	var v versionInfo
	_, out, _ := w.run("version", "-o", "json")
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Version != version || !strings.HasPrefix(v.Go, "go") {
		t.Errorf("version %s, %v", out, err)
	}
	if _, out, _ := w.run("version"); !strings.HasPrefix(out, "vmnet-shim "+version) {
		t.Errorf("version %s", out)
	}
}

// TestMemory tells how much memory a shim takes; SHIM_TEST_MEMORY sets the
// number of attachments.
func TestMemory(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("SHIM_TEST_MEMORY"))
	if err != nil {
		t.Skip("a measurement; set SHIM_TEST_MEMORY to a number of attachments")
	}
	require.Linux(t)
	w := newWorld(t)
	if status, _, errs := w.run("run", "--", "true"); status != 0 {
		t.Fatal(errs)
	}
	c := shim.NewClient(w.dirs.ShimSocket())
	defer c.Close()
	start := time.Now()
	for i := range n {
		if _, err := c.Attach(t.Context(), "n", fmt.Sprintf("c%d", i), "eth0", shim.AttachRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	took := time.Since(start)
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "RssAnon") || strings.HasPrefix(line, "Threads") {
			t.Log(line)
		}
	}
	t.Logf("%d attachments, %d goroutines, %s each", n, s.Goroutines, took/time.Duration(n))
}
