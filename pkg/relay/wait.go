package relay

import (
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Waiting for a peer whose queue is full.
const (
	defaultPeerWait = 20 * time.Millisecond
	pollSlice       = 5 * time.Millisecond // how late a Close may be noticed
	minPause        = 50 * time.Microsecond
	maxPause        = time.Millisecond
)

// sendWait waits, for one batch, until a socket takes more. It blocks the thread
// and not the goroutine in Go's poller: the pump runs in a thread of the device's,
// and waking that through another thread costs more than the wait.
//
// Where the socket can be made to block for a slice, the send itself waits, a few
// frames at a time: the kernel goes on with the frame that found no room. Elsewhere
// poll(2) waits. It knows about the socket's own send buffer only: it calls a
// socket writable whose peer has no room where a name is given with each datagram
// (Linux) and always on macOS; then the wait is a short sleep.
type sendWait struct {
	limit    time.Duration // for one batch; set before use
	closed   *atomic.Bool  // ends the wait
	mayBlock func() bool   // makes the socket block, if it can; nil: it must not

	end      time.Time
	pause    time.Duration
	blind    bool // poll called it writable, and it was not
	blocking bool // sends wait in the kernel, until one did so in vain
	fds      [1]unix.PollFd
}

// start begins a batch.
func (w *sendWait) start() {
	w.end = time.Time{}
	if w.blocking && w.limit < pollSlice {
		w.blocking = false
	}
	w.progress()
}

// progress says that the socket took something. It returns false when the batch's
// time is up all the same: a send that waits may take a slice for every frame.
func (w *sendWait) progress() bool {
	w.pause = minPause
	w.blind = false
	return !w.blocking || w.timeLeft() > 0 && !w.closed.Load()
}

func (w *sendWait) timeLeft() time.Duration {
	now := time.Now()
	if w.end.IsZero() {
		w.end = now.Add(w.limit)
	}
	return w.end.Sub(now)
}

// wait returns true when it is worth trying again after e, and false when the
// batch's time is up.
func (w *sendWait) wait(fd int, e syscall.Errno) bool {
	left := w.timeLeft()
	if left <= 0 || w.closed.Load() {
		w.blocking = false
		return false
	}
	if e == unix.EAGAIN && (w.blocking || left >= pollSlice && w.mayBlock != nil && w.mayBlock()) {
		w.blocking = true
		return true
	}
	if e == unix.EAGAIN && !w.blind {
		w.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
		ms := int(max(min(left, pollSlice), time.Millisecond) / time.Millisecond)
		n, _ := unix.Poll(w.fds[:], ms) // EINTR counts as a try
		w.blind = n > 0
		return true
	}
	time.Sleep(min(w.pause, left))
	w.pause = min(2*w.pause, maxPause)
	return true
}
