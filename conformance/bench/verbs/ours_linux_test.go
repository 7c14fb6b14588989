package verbs_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// hello is what a program in Go costs that does nothing.
const hello = `package main

import "os"

func main() { _, _ = os.Stdout.WriteString("hello\n") }
`

// build makes the programs as make build does, and hello, and returns their directory.
func build(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	main := filepath.Join(dir, "hello.go")
	if err := os.WriteFile(main, []byte(hello), 0o600); err != nil {
		b.Fatal(err)
	}
	for out, pkg := range map[string]string{"vmnet": "../../../plugins/vmnet", "vmnet-shim": "../../../cmd/vmnet-shim", "hello": main} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, out), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("go build %s: %v: %s", pkg, err, text)
		}
	}
	return dir
}

// ours is the plugin of this repository with a shim of its own. The runtime directory
// is in memory, as /run is, and the state directory on the disk, as /var/lib is.
func ours(b *testing.B, bin string) subject {
	b.Helper()
	state := b.TempDir()
	run, err := os.MkdirTemp(memory(), "v") // a short path, since sockets are below it
	if err != nil {
		b.Fatal(err)
	}
	s := subject{
		name: "vmnet", plugin: filepath.Join(bin, "vmnet"), netns: "/vm/bench", config: map[string]any{"type": "vmnet", "driver": "netstack"},
		env: []string{"VMNET_RUNTIME_DIR=" + run, "VMNET_STATE_DIR=" + filepath.Join(state, "state"), "NETCONFPATH=" + state}, socket: filepath.Join(run, "shim.sock"),
	}
	b.Cleanup(func() {
		s.endShim(b)
		_ = os.RemoveAll(run)
	})
	s.list(b, state)
	return s
}

// memory returns a directory that is in memory, or "" where there is none.
func memory() string {
	var st unix.Statfs_t
	if unix.Statfs("/dev/shm", &st) == nil && st.Type == unix.TMPFS_MAGIC {
		return "/dev/shm"
	}
	return ""
}

// first returns how long an ADD takes that finds no shim. It leaves none.
func (s subject) first(b *testing.B) time.Duration {
	b.Helper()
	_, took := s.run(b, "first", "ADD", s.stdin(nil), s.plugin)
	s.run(b, "first", "DEL", s.stdin(nil), s.plugin)
	s.endShim(b)
	return took
}

// endShim ends the shim and waits until it and its keeper are gone.
func (s subject) endShim(b *testing.B) {
	b.Helper()
	c := shim.NewClient(s.socket)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // b's context has ended in a cleanup
	defer cancel()
	st, err := c.Status(ctx)
	if err != nil {
		return // it is not there
	}
	_ = unix.Kill(st.PID, unix.SIGTERM)
	for _, pid := range []int{st.PID, st.Keeper} {
		for pid > 0 && unix.Kill(pid, 0) == nil && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	if ctx.Err() != nil {
		b.Errorf("shim %d does not end", st.PID)
	}
}
