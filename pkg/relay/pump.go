package relay

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A downward is the way from the interface to the guest. The interface's handler
// uses it, whose calls never overlap.
type downward struct {
	size, batch int
	gap         int      // bytes in our buffers before what the interface writes
	kept        bundle   // while there is a peer
	out         [][]byte // a batch as the peer gets it, where headers are
	sink        [][]byte // the same buffer many times: for frames nobody wants
	sizes       []int    // for sink
	limit       *bucket  // nil: none, and what follows is not used
	queue       queue
	queued      atomic.Int64 // bytes in queue, for those who only look
}

func (d *downward) init(info vmnet.Info, gap int) {
	d.size, d.gap = info.MaxPacketSize, gap
	d.batch = BatchLen(d.size)
	if info.ReadBatch > 0 {
		d.batch = min(d.batch, info.ReadBatch)
	}
	d.kept.reset(d.size, d.batch, d.gap)
}

// scrap returns buffers for frames that nobody will look at, and gives the others
// back.
func (d *downward) scrap() ([][]byte, []int) {
	d.kept.reset(d.size, d.batch, d.gap)
	if d.sink == nil {
		one := make([]byte, d.size)
		d.sink, d.sizes = make([][]byte, d.batch), make([]int, d.batch)
		for i := range d.sink {
			d.sink[i] = one
		}
	}
	return d.sink, d.sizes
}

// pump moves frames to the guest until none is waiting. It is the interface's
// event handler and works in the device's own thread: waking a goroutine for it
// made a round trip three times as long.
func (r *Relay) pump() {
	for !r.closing.Load() {
		p := r.peer.Load()
		n, err := r.take(p != nil)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				r.stop()
			}
			return // no more packets, or an error that the next event meets again
		}
		if p == nil {
			r.toGuest.drops.add(ReasonNoPeer, n)
			continue
		}
		r.deliver(p, r.down.kept.put(n))
	}
}

// take reads a batch from the interface.
func (r *Relay) take(wanted bool) (int, error) {
	if wanted {
		return r.ifc.ReadBatch(r.down.kept.get())
	}
	return r.ifc.ReadBatch(r.down.scrap())
}

// deliver gives frames to the peer p, and drops what it does not take.
func (r *Relay) deliver(p *peer, frames [][]byte) {
	if r.hdr.lead == 0 {
		r.send(p, frames)
		return
	}
	d := &r.down
	for len(frames) > 0 {
		n := min(len(frames), maxBatch)
		d.out = d.out[:0]
		for _, f := range frames[:n] {
			d.out = append(d.out, r.hdr.present(f, p.header))
		}
		r.send(p, d.out)
		frames = frames[n:]
	}
}

// send gives the peer p frames with what it has before them.
func (r *Relay) send(p *peer, frames [][]byte) {
	for len(frames) > 0 {
		n, err := p.link.WriteBatch(frames)
		r.show(true, frames[:n], p.header)
		r.toGuest.passed(frames[:n], p.header)
		frames = frames[n:]
		if len(frames) == 0 {
			return
		}
		why := refusal(frames[0], err)
		switch {
		case err == ErrFrameSize: //nolint:errorlint // ports return it bare
			r.toGuest.drops.add(why, 1)
			frames = frames[1:]
			continue
		case err == ErrPeerGone: //nolint:errorlint // likewise
			r.lost(p, err)
		case err == nil && n > 0:
			continue
		}
		r.toGuest.drops.add(why, len(frames))
		return
	}
}

// refusal returns the reason for which a link refused frame with err.
func refusal(frame []byte, err error) Reason {
	switch {
	case err == ErrQueueFull: //nolint:errorlint // ports return it bare
		return ReasonPeerFull
	case err == ErrFrameSize && len(frame) < vmnet.HeaderLen: //nolint:errorlint // likewise
		return ReasonRunt
	case err == ErrFrameSize: //nolint:errorlint // likewise
		return ReasonTooBig
	case err == nil, errors.Is(err, ErrPeerGone), errors.Is(err, net.ErrClosed):
		return ReasonPeerGone
	}
	return ReasonPeerError
}
