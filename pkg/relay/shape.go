package relay

import (
	"errors"
	"net"
	"time"
)

// limitUp hands frames to the interface at the rate of the limit. What is early
// waits here, and so does what comes after it, in the guest's socket: the guest
// sends less and loses nothing. Dropping instead costs TCP far more than its share:
// a guest fills a queue before it can know of a loss, and then lacks hundreds of
// frames at once. How long frames wait is up to the size of that socket. The
// caller holds up.mu.
func (r *Relay) limitUp(who *peer, frames [][]byte) {
	waited := time.Duration(0)
	for len(frames) > 0 {
		n, wait := r.up.limit.fit(frames)
		r.toInterface(frames[:n])
		if frames = frames[n:]; n > 0 {
			waited = 0
		}
		switch {
		case len(frames) == 0:
			return
		case r.closing.Load():
			r.fromGuest.drops.add(ReasonClosed, len(frames))
			return
		case r.peer.Load() != who:
			r.fromGuest.drops.add(ReasonOtherPeer, len(frames))
			return
		case waited >= limitWait:
			r.fromGuest.drops.add(ReasonRateLimit, 1)
			frames, waited = frames[1:], 0
			continue
		}
		wait = min(max(wait, limitPause), pollSlice) // so that Close is noticed
		time.Sleep(wait)
		waited += wait
	}
}

// sendWaiting sends the frames of the queue that may pass now.
func sendWaiting(q *queue, b *bucket, send func([][]byte)) {
	for q.count > 0 {
		frames := q.waiting()
		n, wait := b.fit(frames)
		send(frames[:n])
		if q.done(n); wait > 0 {
			return
		}
	}
}

// pumpLimited is pump for a limited guest. What is early waits in a queue of the
// relay's, since the interface's own may be too long.
func (r *Relay) pumpLimited() {
	q := &r.down.queue
	for !r.closing.Load() {
		p := r.peer.Load()
		if p == nil {
			r.toGuest.drops.add(ReasonNoPeer, q.count)
			*q = queue{}
			r.down.queued.Store(0)
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
		sendWaiting(q, r.down.limit, func(frames [][]byte) { r.deliver(p, frames) })
		r.down.queued.Store(int64(q.bytes))
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

// fill reads what waits into the queue and drops what is too much for it. dry
// says that nothing waits any more, or that an error came that the next event
// meets again.
func (r *Relay) fill(q *queue) (dry bool, err error) {
	q.open(r.down.limit, r.down.size, r.down.gap)
	for range fillRounds {
		n, err := r.ifc.ReadBatch(q.room())
		if err != nil {
			return true, err
		}
		r.toGuest.drops.add(ReasonRateLimit, q.add(n))
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
