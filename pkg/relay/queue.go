package relay

import (
	"errors"
	"net"
	"time"
)

// A queue holds frames for the guest that are early for its limit. The
// interface's handler uses it. Frames are read into it in place.
type queue struct {
	bufs        [][]byte // the ring; nil until a frame comes, and without a peer
	sizes       []int
	frames      [][]byte // frames[i] is what bufs[i] holds
	head, count int
}

// room returns buffers for the next frames: those up to the end of the ring, or
// none when it is full.
func (q *queue) room() ([][]byte, []int) {
	n := len(q.bufs)
	at := (q.head + q.count) % n
	end := min(n, at+n-q.count)
	return q.bufs[at:end], q.sizes[at:end]
}

// add says that the first n buffers of room were filled.
func (q *queue) add(n int) {
	at := (q.head + q.count) % len(q.bufs)
	for i := at; i < at+n; i++ {
		q.frames[i] = q.bufs[i][:q.sizes[i]]
	}
	q.count += n
}

// waiting returns the oldest frames, up to the end of the ring.
func (q *queue) waiting() [][]byte { return q.frames[q.head:min(len(q.bufs), q.head+q.count)] }

// done takes the n oldest frames away.
func (q *queue) done(n int) {
	q.head = (q.head + n) % len(q.bufs)
	if q.count -= n; q.count == 0 {
		q.head = 0 // the first buffers are in the processor's cache
	}
}

// pumpLimited is pump for a limited guest. What is early waits in the queue, what
// the queue has no room for is dropped: so the delay is bounded, which the
// interface's own queue may be too long for.
func (r *Relay) pumpLimited() {
	q := &r.down.queue
	for !r.closing.Load() {
		p := r.peer.Load()
		if p == nil {
			r.toGuest.drops.add(ReasonNoPeer, q.count)
			*q = queue{}
			if !r.discard() {
				return
			}
			continue
		}
		dry, err := r.fill(q)
		if errors.Is(err, net.ErrClosed) {
			r.stop()
			return
		}
		wait := time.Duration(0)
		for q.count > 0 && wait <= 0 {
			var n int
			ready := q.waiting()
			n, wait = r.down.limit.fit(ready)
			r.deliver(p, ready[:n])
			q.done(n)
		}
		if q.count > 0 {
			time.Sleep(limitPause)
		} else if dry {
			return
		}
	}
}

// fillRounds bounds how many batches are read before the next is sent: an
// interface may bring frames as fast as they are read.
const fillRounds = 64

// fill reads what waits into the queue and drops what it has no room for. dry
// says that nothing waits any more, or that an error came that the next event
// meets again.
func (r *Relay) fill(q *queue) (dry bool, err error) {
	if q.bufs == nil {
		n := r.down.limit.queued(r.down.size)
		q.bufs, q.sizes, q.frames = NewBuffers(n, r.down.size), make([]int, n), make([][]byte, n)
	}
	for range fillRounds {
		bufs, sizes := q.room()
		full := len(bufs) == 0
		if full {
			bufs, sizes = r.down.scrap()
		}
		n, err := r.ifc.ReadBatch(bufs, sizes)
		if err != nil {
			return true, err
		}
		if full {
			r.toGuest.drops.add(ReasonRateLimit, n)
		} else {
			q.add(n)
		}
	}
	return false, nil
}

// discard drops one batch because there is no peer. It reports whether more may
// wait.
func (r *Relay) discard() bool {
	n, err := r.take(false)
	if err != nil {
		if errors.Is(err, net.ErrClosed) {
			r.stop()
		}
		return false
	}
	r.toGuest.drops.add(ReasonNoPeer, n)
	return true
}
