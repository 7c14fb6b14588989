package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/require"
)

// TestWaiting has a shim that does not answer: somebody at a terminal is told what
// the command waits for, and the line is gone at its end.
func TestWaiting(t *testing.T) {
	w := newWorld(t)
	if err := w.dirs.Prepare(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", w.dirs.ShimSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.(*net.UnixListener).SetDeadline(time.Now().Add(6 * patience)); err != nil {
		t.Fatal(err)
	}
	ours, theirs := terminal(t)
	cmd := w.cmd("ls")
	cmd.Env = append(cmd.Env, "TERM=xterm", "NO_COLOR=1")
	cmd.Stderr = theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	var screen shown
	var wg sync.WaitGroup
	wg.Go(func() { screen.read(ours) })
	conn, err := l.Accept() // and nothing is said
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("what is waited for", func() bool { return strings.Contains(screen.text(), "waiting for the shim … ") })
	l.Close()
	conn.Close() // the shim has ended
	if err := cmd.Wait(); err == nil {
		t.Error("ls has listed something")
	}
	wg.Wait()
	if _, last, _ := strings.Cut(screen.text(), "waiting for the shim"); !strings.Contains(last, "\r\x1b[Kvmnet-shim: ") {
		t.Errorf("the line is left: %q", screen.text())
	}
}

// terminal returns both ends of a new terminal (pts(4)).
func terminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		require.Missing(t, "pty", "no terminals here: %v", err)
	}
	t.Cleanup(func() { ours.Close() })
	var n int
	raw, err := ours.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) {
			if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
				n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
			}
		})
		if err == nil {
			err = cerr
		}
	}
	if err == nil {
		theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		require.Missing(t, "pty", "no terminals here: %v", err)
	}
	t.Cleanup(func() { theirs.Close() })
	return ours, theirs
}

// shown is what a terminal has shown.
type shown struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// read reads until the other end is closed, which is EIO.
func (s *shown) read(f *os.File) {
	b := make([]byte, 4096)
	for {
		n, err := f.Read(b)
		s.mu.Lock()
		s.buf.Write(b[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *shown) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}
