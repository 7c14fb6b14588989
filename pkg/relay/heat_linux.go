package relay

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How a busy socket is waited for.
const (
	// hotAfter waits in a row, each of at most hotGap since the one before, make
	// a reader hot. What idle guests send (ARP, router solicitations, DHCP) does not.
	hotAfter = 4
	hotGap   = 2 * time.Millisecond
	// readSlice is how long a hot reader waits in the kernel: as long may a Close
	// take to be noticed, and a guest that says nothing for so long is not busy.
	readSlice = 5 * time.Millisecond
	// blockingBatch is how many datagrams one blocking send tries at most. The
	// kernel waits up to pollSlice for each of them.
	blockingBatch = 8
)

// heat decides where a reader waits for the guest. A parked goroutine costs the
// least while nothing comes, but is woken through epoll_wait(2), a second thread
// and a read in vain; a thread in recvmmsg(2) is woken once and has its frames. So
// a reader waits in the kernel while the guest is busy, in slices, and in Go's
// poller otherwise. One goroutine uses it.
//
// A signal ends a wait in the kernel as the end of a slice does: Go's runtime sends
// one every 10 ms to a thread that has been in one call, or in one goroutine, as
// long, and a wait that began anew each time would never end.
type heat struct {
	s      *sock
	last   time.Time // of the last wait in Go's poller
	streak int
	hot    bool
	took   *Threads // from whom, while hot
}

// again is told that there was no frame, and says whether to try once more or to
// wait in Go's poller. A hot reader has waited in vain and becomes a cool one.
func (h *heat) again() bool {
	if h.hot {
		h.cool()
		return true // without waiting: what Go's poller knows may be old
	}
	now := time.Now()
	t := h.s.threads.Load()
	if now.Sub(h.last) > t.hotGap() {
		h.streak = 0
	}
	h.last = now
	h.streak++
	if h.streak < hotAfter || !h.s.mayBlock() {
		return false
	}
	if h.hot = t.take(); h.hot {
		h.took = t
		h.s.rest()
	}
	return h.hot
}

// cool ends the waiting in the kernel: a slice has passed without a frame.
func (h *heat) cool() {
	if h.hot {
		h.took.give()
	}
	h.hot, h.took, h.streak = false, nil, 0
}

// hotGap is how long a busy guest says nothing, at most.
func (t *Threads) hotGap() time.Duration {
	if t == nil || t.gap == 0 {
		return hotGap
	}
	return t.gap
}

// take reports whether one more may wait, who must give then. Nil has no bound.
func (t *Threads) take() bool {
	if t == nil {
		return true
	}
	for {
		n := t.n.Load()
		if n >= t.Max {
			return false
		}
		if t.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (t *Threads) give() {
	if t != nil {
		t.n.Add(-1)
	}
}

// rest has frames wake nobody in Go's poller: the reader waits in the kernel.
func (s *sock) rest() {
	if w, ok := s.conn.(*watch); ok {
		w.rest()
	}
}

// A blocker remembers whether a socket blocks.
type blocker struct {
	blockOnce sync.Once
	blocks    bool
}

// mayBlock makes the socket one that blocks, unless a call says MSG_DONTWAIT, and
// bounds how long. It reports whether that could be done.
func (s *sock) mayBlock() bool {
	s.blockOnce.Do(func() {
		_ = s.raw.Control(func(fd uintptr) { s.blocks = makeBlocking(int(fd)) == nil })
	})
	return s.blocks
}

func makeBlocking(fd int) error {
	for opt, d := range map[int]time.Duration{unix.SO_RCVTIMEO: readSlice, unix.SO_SNDTIMEO: pollSlice} {
		limit := unix.NsecToTimeval(int64(d))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, opt, &limit); err != nil {
			return err
		}
	}
	return unix.SetNonblock(fd, false)
}
