package relay

import (
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A watch is a descriptor that is not in Go's poller. That has a descriptor for
// reading and for writing as long as it is open: a thread that waits there is woken
// by every frame that comes while the reader is at work anyhow, and by every one that
// the guest takes, two or three times for each batch. So the descriptor is in an epoll
// of its own, which is in Go's poller, and is waited for only while its reader has
// found nothing.
//
// It is a conn and a syscall.RawConn, whose Read is for one goroutine at a time.
type watch struct {
	fd    int
	users atomic.Int64  // of fd, and closing
	ended chan struct{} // closed by Close
	free  chan struct{} // closed when nobody uses fd any more

	epoll *os.File
	raw   syscall.RawConn // of epoll
	epfd  int
	try   func(uintptr) bool // made once, so that a read allocates nothing

	// Used by Read only.
	fn     func(uintptr) bool
	waited bool
	armed  bool // what comes wakes the reader
}

// closing is added to users by Close.
const closing = 1 << 32

var (
	_ conn            = (*watch)(nil)
	_ syscall.RawConn = (*watch)(nil)
)

// newWatch returns a watch of a duplicate of fd, which it owns.
func newWatch(fd int) (*watch, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		_ = unix.Close(dup)
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	err = unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, dup, &unix.EpollEvent{})
	if err == nil {
		err = unix.SetNonblock(epfd, true) // so that NewFile puts it into Go's poller
	}
	if err != nil {
		_, _ = unix.Close(epfd), unix.Close(dup)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	w := &watch{fd: dup, epfd: epfd, ended: make(chan struct{}), free: make(chan struct{})}
	w.epoll, w.try = os.NewFile(uintptr(epfd), "epoll"), w.once
	if w.raw, err = w.epoll.SyscallConn(); err != nil {
		_, _ = w.epoll.Close(), unix.Close(dup)
		return nil, err
	}
	return w, nil
}

// watched returns c out of Go's poller, or c itself where that cannot be, for want of
// descriptors most likely. It owns c.
func watched(c conn) conn {
	raw, err := c.SyscallConn()
	if err != nil {
		return c
	}
	var w *watch
	if cerr := raw.Control(func(fd uintptr) { w, err = newWatch(int(fd)) }); cerr != nil || err != nil {
		return c
	}
	_ = c.Close() // w has a duplicate
	return w
}

// SyscallConn implements conn.
func (w *watch) SyscallConn() (syscall.RawConn, error) { return w, nil }

// Control implements syscall.RawConn.
func (w *watch) Control(fn func(fd uintptr)) error {
	if !w.enter() {
		return net.ErrClosed
	}
	defer w.leave()
	fn(uintptr(w.fd))
	return nil
}

// Read implements syscall.RawConn.
func (w *watch) Read(fn func(fd uintptr) bool) error {
	if !w.enter() {
		return net.ErrClosed
	}
	defer w.leave()
	w.fn, w.waited = fn, false
	err := w.raw.Read(w.try)
	w.fn = nil
	if !w.waited {
		w.rest()
	}
	return err
}

// once tries, and says whether that was all: if not, what comes wakes the reader. What
// came before that was so is not told, and has to be looked for; and fn may say rest.
func (w *watch) once(uintptr) bool {
	for !w.fn(uintptr(w.fd)) {
		w.waited = true
		if w.armed {
			return false
		}
		if w.set(true) != nil {
			break
		}
	}
	return true
}

// rest has nothing wake the reader, who is at work, or waits in another way.
func (w *watch) rest() {
	if w.armed {
		_ = w.set(false) // it costs a wake-up at worst
	}
}

func (w *watch) set(armed bool) error {
	var e unix.EpollEvent
	if armed {
		e.Events = unix.EPOLLIN
	}
	err := unix.EpollCtl(w.epfd, unix.EPOLL_CTL_MOD, w.fd, &e)
	if err == nil {
		w.armed = armed
	}
	return err
}

// Pauses of Write.
const (
	minWritePause = time.Millisecond
	maxWritePause = 50 * time.Millisecond
)

// Write implements syscall.RawConn. It tries again after pauses: who waits here has a
// guest that takes nothing.
func (w *watch) Write(fn func(fd uintptr) bool) error {
	for pause := minWritePause; ; pause = min(2*pause, maxWritePause) {
		done := false
		if err := w.Control(func(fd uintptr) { done = fn(fd) }); err != nil || done {
			return err
		}
		select {
		case <-w.ended:
		case <-time.After(pause):
		}
	}
}

// Close closes the descriptor and waits until nobody uses it. It is called once.
func (w *watch) Close() error {
	close(w.ended)
	if w.users.Add(closing) == closing {
		close(w.free)
	}
	_ = w.epoll.Close() // wakes the reader
	<-w.free
	return unix.Close(w.fd)
}

func (w *watch) enter() bool {
	for {
		n := w.users.Load()
		if n >= closing {
			return false
		}
		if w.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (w *watch) leave() {
	if w.users.Add(-1) == closing {
		close(w.free)
	}
}
