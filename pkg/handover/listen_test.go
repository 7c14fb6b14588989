package handover_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/handover"
)

func TestListenPush(t *testing.T) {
	noFDLeak(t)
	guest, proves := guestEnd(t)
	ctx := testContext(t)
	l, err := handover.Listen(filepath.Join(t.TempDir(), "vm.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(l.Path()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v: want mode 0600", info.Mode(), err)
	}

	pushed := make(chan error, 1)
	push := func() { pushed <- handover.Push(ctx, l.Path(), sample(), guest) }

	go push()
	offer, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := offer.Accept(); err != nil {
		t.Fatal(err)
	}
	proves(offer.File)
	offer.File.Close()
	if err := <-pushed; err != nil {
		t.Errorf("push: %v", err)
	}

	go push()
	if offer, err = l.Accept(ctx); err != nil {
		t.Fatal(err)
	}
	if err := offer.Reject(errors.New("machine is off")); err != nil {
		t.Fatal(err)
	}
	refused := new(handover.RefusedError)
	if err := <-pushed; !errors.As(err, &refused) || refused.Reason != "machine is off" {
		t.Errorf("push: %v: want the runtime's reason", err)
	}
}

// Connections that do not keep to the protocol, or only look whether somebody
// listens, do not disturb the others.
func TestListenSurvivesBadPeers(t *testing.T) {
	noFDLeak(t)
	guest, _ := guestEnd(t)
	ctx := testContext(t)
	l, err := handover.Listen(filepath.Join(t.TempDir(), "vm.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	silent, err := net.Dial("unix", l.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, s := range []string{"", "garbage\n", "{"} {
		c, err := net.Dial("unix", l.Path())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(s))
		c.Close()
	}
	const pushes = 20
	errs := make(chan error, pushes)
	for i := range pushes {
		m := sample()
		m.ContainerID = fmt.Sprintf("vm%d", i)
		go func() { errs <- handover.Push(ctx, l.Path(), m, guest) }()
	}
	seen := map[string]bool{}
	for range pushes {
		o, err := l.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		seen[o.Message.ContainerID] = true
		if err := o.Accept(); err != nil {
			t.Error(err)
		}
		o.File.Close()
	}
	for range pushes {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if len(seen) != pushes {
		t.Errorf("%d different machines: want %d", len(seen), pushes)
	}
}

func TestListenClose(t *testing.T) {
	noFDLeak(t)
	guest, _ := guestEnd(t)
	ctx := testContext(t)
	l, err := handover.Listen(filepath.Join(t.TempDir(), "vm.sock"))
	if err != nil {
		t.Fatal(err)
	}
	// One that is offered but not accepted, one that waits in Accept.
	pushed, accepted := make(chan error, 1), make(chan error, 1)
	go func() { pushed <- handover.Push(ctx, l.Path(), sample(), guest) }()
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	o, err := l.Accept(short) // may or may not be fast enough; either is fine
	if err == nil {
		_ = o.Reject(errors.New("off"))
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			o, err := l.Accept(ctx)
			if err != nil {
				accepted <- err
				return
			}
			_ = o.Reject(errors.New("off"))
		}
	})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v: want net.ErrClosed", err)
	}
	if err := <-pushed; err == nil {
		t.Error("push to a closed listener succeeded")
	}
	wg.Wait()
	if _, err := os.Stat(l.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket file after Close: %v", err)
	}
}

func TestListenPaths(t *testing.T) {
	noFDLeak(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "vm.sock")
	// A stale socket is replaced.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	l, err := handover.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// One in use is not.
	if l2, err := handover.Listen(path); err == nil {
		l2.Close()
		t.Error("two listeners at one path")
	}
	// Nor any other file.
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := handover.Listen(file); err == nil {
		t.Error("listening in the place of a file")
	}
	if _, err := handover.Listen(filepath.Join(dir, strings.Repeat("x", 120))); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("long path: %v: want the limit named", err)
	}
	// Close leaves a file that is not its own.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("Close removed a file that was not its own: %v", err)
	}
}

// A giver that comes while the process has no descriptor left waits, and others after
// it are served.
func TestListenWithoutDescriptors(t *testing.T) {
	noFDLeak(t)
	guest, _ := guestEnd(t)
	ctx := testContext(t)
	l, err := handover.Listen(filepath.Join(t.TempDir(), "vm.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	early := os.NewFile(uintptr(fd), "early")
	defer early.Close()
	release := takeDescriptors(t)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: l.Path()}); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if o, err := l.Accept(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without descriptors: %v, %v: want the context's error", o, err)
	}
	release()
	c, err := net.FileConn(early)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := make(chan error, 1)
	go func() { sent <- handover.Send(ctx, c.(*net.UnixConn), sample(), guest) }()
	o, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(o.Accept(), o.File.Close(), <-sent); err != nil {
		t.Error(err)
	}
}

// takeDescriptors leaves this process none to open, until release.
func takeDescriptors(t *testing.T) (release func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	var taken []int
	fewer := old
	fewer.Cur = uint64(openFDs(t) + 16)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &fewer); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		for _, fd := range taken {
			_ = unix.Close(fd)
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(release)
	for {
		fd, err := unix.Dup(0)
		if errors.Is(err, unix.EMFILE) {
			return release
		}
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, fd)
	}
}
