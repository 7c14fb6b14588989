package relay

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newWatched returns a watch of one end of a socket, and the other end, non-blocking.
func newWatched(t *testing.T, typ int) (*watch, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	w, err := newWatch(fds[0])
	_ = unix.Close(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	return w, fds[1]
}

// take returns a function for Read that takes up to n bytes, and where it notes how
// many.
func take(n int) (fn func(uintptr) bool, took *int) {
	took, buf := new(int), make([]byte, n)
	return func(fd uintptr) bool {
		k, err := unix.Read(int(fd), buf)
		*took += max(k, 0)
		return !errors.Is(err, unix.EAGAIN)
	}, took
}

// What comes while the reader is at work wakes nobody; what comes while it waits does.
func TestWatchRests(t *testing.T) {
	w, other := newWatched(t, unix.SOCK_DGRAM)
	defer w.Close()
	wakes := func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(w.epfd), Events: unix.POLLIN}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
	fn, _ := take(100)
	read := make(chan error, 1)
	go func() { read <- w.Read(fn) }()
	time.Sleep(10 * time.Millisecond) // it may wait by then, or not: both must do
	for range 2 {                     // the second is there before Read is called
		if _, err := unix.Write(other, []byte("frame")); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if err := w.Read(fn); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(other, []byte("frame")); err != nil {
		t.Fatal(err)
	}
	if w.armed || wakes() {
		t.Error("a frame wakes a reader at work")
	}
	if err := w.set(true); err != nil || !wakes() {
		t.Error("a frame does not wake a reader that waits", err)
	}
}

// No frame is left lying that comes just before the reader waits, nor when what it
// does has it rest.
func TestWatchMissesNothing(t *testing.T) {
	for name, meanwhile := range map[string]func(w *watch, other int){
		"a frame comes": func(_ *watch, other int) { _, _ = unix.Write(other, []byte("frame")) },
		"the reader waited in the kernel": func(w *watch, other int) {
			w.rest()
			time.AfterFunc(10*time.Millisecond, func() { _, _ = unix.Write(other, []byte("frame")) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, other := newWatched(t, unix.SOCK_DGRAM)
			defer w.Close()
			buf, calls := make([]byte, 100), 0
			fn := func(fd uintptr) bool {
				_, err := unix.Read(int(fd), buf)
				if !errors.Is(err, unix.EAGAIN) {
					return true
				}
				if calls++; calls < 3 {
					meanwhile(w, other)
				}
				return false
			}
			read := make(chan error, 1)
			for i := range 6 {
				if i%2 == 1 { // what Go's poller knows by now, the reader finds at once, and rests
					_, _ = unix.Write(other, []byte("frame"))
					time.Sleep(5 * time.Millisecond)
				}
				calls = 0
				go func() { read <- w.Read(fn) }()
				select {
				case err := <-read:
					if err != nil {
						t.Fatal(err)
					}
				case <-time.After(30 * time.Second):
					t.Fatal("the reader sleeps")
				}
			}
		})
	}
}

// Close wakes the reader, and returns when nobody uses the descriptor any more.
func TestWatchClose(t *testing.T) {
	w, _ := newWatched(t, unix.SOCK_STREAM)
	fn, _ := take(1)
	read, write := make(chan error), make(chan error)
	go func() { read <- w.Read(fn) }()
	go func() { write <- w.Write(func(uintptr) bool { return false }) }()
	in, out := make(chan struct{}), make(chan struct{})
	used := make(chan error)
	go func() { used <- w.Control(func(uintptr) { close(in); <-out }) }()
	<-in
	closed := make(chan error)
	go func() { closed <- w.Close() }()
	for _, c := range []chan error{read, write} {
		if err := <-c; err == nil {
			t.Error("no error after Close")
		}
	}
	select {
	case err := <-closed:
		t.Error("Close did not wait", err)
	default:
	}
	close(out)
	if err := errors.Join(<-used, <-closed); err != nil {
		t.Error(err)
	}
	if err := w.Control(func(uintptr) {}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Control after Close: %v", err)
	}
}
