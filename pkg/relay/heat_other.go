//go:build !linux

package relay

// heat keeps readers in Go's poller: how long a wait in the kernel lasts cannot be
// bounded as surely here, and has not been measured.
type heat struct {
	s   *sock
	hot bool
}

func (h *heat) again() bool { return false }

func (h *heat) cool() {}

type blocker struct{}

func (blocker) mayBlock() bool { return false }

// blockingBatch is not used here.
const blockingBatch = 1
