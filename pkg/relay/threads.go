package relay

import (
	"sync/atomic"
	"time"
)

// Threads bounds how many readers wait in the kernel at once, each in a thread of
// its own, instead of in Go's poller: what is quicker while a guest is busy. The
// zero value lets none. Several relays share one.
type Threads struct {
	// Max is how many may. It does not change.
	Max int64

	n   atomic.Int64
	gap time.Duration // in the place of hotGap, for tests; 0: hotGap
}

// Waiting returns how many wait in the kernel now.
func (t *Threads) Waiting() int64 { return t.n.Load() }
