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
// in poll(2) and not the goroutine in Go's poller: the pump runs in a thread of
// the device's, and waking that through another thread costs more than the wait.
//
// poll(2) knows about the socket's own send buffer only. It calls a socket
// writable whose peer has no room where a name is given with each datagram
// (Linux) and always on macOS; then the wait is a short sleep.
type sendWait struct {
	limit  time.Duration // for one batch; set before use
	closed *atomic.Bool  // ends the wait
	end    time.Time
	pause  time.Duration
	blind  bool // poll called it writable, and it was not
	fds    [1]unix.PollFd
}

// start begins a batch.
func (w *sendWait) start() {
	w.end = time.Time{}
	w.progress()
}

// progress says that the socket took something.
func (w *sendWait) progress() {
	w.pause = minPause
	w.blind = false
}

// wait returns true when it is worth trying again after e, and false when the
// batch's time is up.
func (w *sendWait) wait(fd int, e syscall.Errno) bool {
	now := time.Now()
	if w.end.IsZero() {
		w.end = now.Add(w.limit)
	}
	left := w.end.Sub(now)
	if left <= 0 || w.closed.Load() {
		return false
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
