package server_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

// playShim serves on fd 3 with the directories of the environment.
func playShim() int {
	d, err := shim.FindDirs()
	if err != nil {
		return 1
	}
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return 1
	}
	cfg := config(d)
	if err := breakMachine(d, &cfg.Limits); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if os.Getenv(framework.LibraryEnv) != "" {
		if cfg.Drivers[shim.DriverVmnet], err = framework.New(framework.Config{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	cfg.IdleExit, _ = time.ParseDuration(os.Getenv("SERVER_TEST_IDLE"))
	if err := serve(context.Background(), cfg, l.(*net.UnixListener)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// spawn starts a shim in a process of its own.
func spawn(t *testing.T, d shim.Dirs, env ...string) *exec.Cmd {
	t.Helper()
	return spawnIn(t, d, nil, env...)
}

// spawnIn is spawn with surroundings of its own.
func spawnIn(t *testing.T, d shim.Dirs, attr *syscall.SysProcAttr, env ...string) *exec.Cmd {
	t.Helper()
	l, err := shim.Listen(t.Context(), d.ShimSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), roleEnv+"=serve", "VMNET_RUNTIME_DIR="+d.Runtime, "VMNET_STATE_DIR="+d.State), env...)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func TestKill(t *testing.T) {
	d := newDirs(t)
	cmd := spawn(t, d)
	c := client(t, d)
	first, err := c.Attach(t.Context(), "n", "c1", "eth0", shim.AttachRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if _, err := c.Status(t.Context()); !errors.Is(err, shim.ErrNotRunning) {
		t.Errorf("after the kill: %v, want ErrNotRunning", err)
	}
	spawn(t, d)
	second, err := c.Attach(t.Context(), "n", "c2", "eth0", shim.AttachRequest{})
	if err != nil || second.IPs[0] == first.IPs[0] {
		t.Fatalf("another container: %+v, %v", second, err)
	}
	atts, err := c.Attachments(t.Context())
	if err != nil || len(atts) != 2 || atts[0].MAC != first.MAC || atts[0].IPs[0] != first.IPs[0] || atts[0].Problem != "" {
		t.Errorf("attachments %+v, %v, want both as they were", atts, err)
	}
	for _, id := range []string{"c1", "c2"} {
		if err := c.Detach(t.Context(), "n", id, "eth0"); err != nil {
			t.Error(err)
		}
	}
	if s, err := c.Status(t.Context()); err != nil || s.Attachments != 0 || s.Networks != 0 {
		t.Errorf("status %+v, %v, want nothing left", s, err)
	}
}

// TestKillAnyTime kills the shim while clients attach and detach, and looks
// each time that attachments and leases agree.
func TestKillAnyTime(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	d := newDirs(t)
	for round := range rounds {
		cmd := spawn(t, d)
		c := client(t, d)
		checkLeases(t, c, round)
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					id := fmt.Sprintf("c%d-%d", w, i%3)
					_, err := c.Attach(t.Context(), "n", id, "eth0", shim.AttachRequest{})
					if err == nil && i%3 == 2 {
						err = c.Detach(t.Context(), "n", id, "eth0")
					}
					if err != nil {
						return // killed
					}
				}
			})
		}
		time.Sleep(time.Duration(10+rand.IntN(60)) * time.Millisecond) // the instant is the point
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		wg.Wait()
		c.Close()
	}
	spawn(t, d)
	c := client(t, d)
	checkLeases(t, c, rounds)
	if _, err := c.GC(t.Context(), "n", nil); err != nil {
		t.Error(err)
	}
	checkLeases(t, c, rounds+1)
}

// checkLeases looks that every attachment works, has an address of its own, and
// that there are as many leases as attachments.
func checkLeases(t *testing.T, c *shim.Client, round int) {
	t.Helper()
	atts, err := c.Attachments(t.Context())
	if err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	seen := map[string]string{}
	for _, a := range atts {
		if a.Problem != "" || len(a.IPs) != 2 {
			t.Errorf("round %d: %s: %s", round, a.ContainerID, a.Problem)
			continue
		}
		for _, i := range a.IPs {
			ip := i.Address.String()
			if by, ok := seen[ip]; ok {
				t.Errorf("round %d: %s and %s both have %s", round, by, a.ContainerID, ip)
			}
			seen[ip] = a.ContainerID
		}
	}
	nets, err := c.Networks(t.Context())
	if err != nil || len(nets) > 1 {
		t.Fatalf("round %d: networks %v, %v", round, nets, err)
	}
	if len(nets) == 1 && nets[0].Leases != len(atts) {
		t.Errorf("round %d: %d leases for %d attachments", round, nets[0].Leases, len(atts))
	}
}

func TestIdleExit(t *testing.T) {
	d := newDirs(t)
	before := start(t, config(d)) // so that the one that can leave never is without one
	before.attach("n", "c", shim.AttachRequest{})
	before.stop()
	cmd := spawn(t, d, "SERVER_TEST_IDLE=150ms")
	c := client(t, d)
	if s, err := c.Status(t.Context()); err != nil || s.Attachments != 1 {
		t.Fatalf("%d attachments, %v, want that from before", s.Attachments, err)
	}
	time.Sleep(400 * time.Millisecond) // longer than it would stay without one
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatalf("with an attachment: %v, want it to stay", err)
	}
	if err := c.Detach(t.Context(), "n", "c", "eth0"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the shim did not leave")
	}
	if _, err := os.Lstat(d.ShimSocket()); err == nil {
		t.Error("it left its socket behind")
	}
}

// TestIdleExitRace has clients come at the very moment the shim leaves: each
// finds it or starts the next.
func TestIdleExitRace(t *testing.T) {
	d := newDirs(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := d.State + "/shim"
	text := fmt.Sprintf("#!/bin/sh\nSERVER_TEST_IDLE=50ms %s=serve exec %s\n", roleEnv, exe)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := range 8 {
				c, err := shim.Ensure(t.Context(), shim.EnsureConfig{Dirs: d, Binary: script, Spawn: true, Timeout: patience})
				if err != nil {
					t.Errorf("ensure: %v", err)
					return
				}
				id := fmt.Sprintf("c%d", w)
				if _, err := c.Attach(t.Context(), "n", id, "eth0", shim.AttachRequest{}); err != nil {
					t.Errorf("attach: %v", err)
				}
				if err := c.Detach(t.Context(), "n", id, "eth0"); err != nil {
					t.Errorf("detach: %v", err)
				}
				c.Close()
				time.Sleep(time.Duration(45+i+rand.IntN(10)) * time.Millisecond) // about the idle time
			}
		})
	}
	wg.Wait()
	// The last one leaves by itself, and with it the goroutine that waits for it.
	eventually(t, func() bool { _, err := os.Lstat(d.ShimSocket()); return err != nil }, func() string { return "the last shim did not leave" })
}
