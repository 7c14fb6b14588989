package relay

import (
	"errors"
	"net"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A downward is the way from the interface to the guest. The interface's handler
// uses it, whose calls never overlap.
type downward struct {
	batch, size int
	bufs        [][]byte // while there is a peer
	sizes       []int
	frames      [][]byte
	sink        [][]byte // the same buffer many times: for frames nobody wants
}

func (d *downward) init(info vmnet.Info) {
	d.size = info.MaxPacketSize
	d.batch = BatchLen(d.size)
	if info.ReadBatch > 0 {
		d.batch = min(d.batch, info.ReadBatch)
	}
}

// buffers returns buffers for a batch: without a peer, for frames that nobody
// will look at.
func (d *downward) buffers(wanted bool) [][]byte {
	if d.sizes == nil {
		d.sizes, d.frames = make([]int, d.batch), make([][]byte, 0, d.batch)
	}
	if !wanted {
		d.bufs = nil
		if d.sink == nil {
			one := make([]byte, d.size)
			d.sink = make([][]byte, d.batch)
			for i := range d.sink {
				d.sink[i] = one
			}
		}
		return d.sink
	}
	if d.bufs == nil {
		d.bufs = NewBuffers(d.batch, d.size)
	}
	return d.bufs
}

// pump moves frames to the guest until none is waiting. It is the interface's
// event handler and works in the device's own thread: waking a goroutine for it
// made a round trip three times as long.
func (r *Relay) pump() {
	d := &r.down
	for !r.closing.Load() {
		p := r.peer.Load()
		bufs := d.buffers(p != nil)
		n, err := r.ifc.ReadBatch(bufs, d.sizes)
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
		d.frames = d.frames[:0]
		for i := range n {
			d.frames = append(d.frames, bufs[i][:d.sizes[i]])
		}
		r.deliver(p, d.frames)
	}
}

// deliver gives frames to the peer p, and drops what it does not take.
func (r *Relay) deliver(p *peer, frames [][]byte) {
	for len(frames) > 0 {
		n, err := p.link.WriteBatch(frames)
		r.toGuest.passed(frames[:n])
		frames = frames[n:]
		if len(frames) == 0 {
			return
		}
		why := refusal(frames[0], r.max, err)
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
func refusal(frame []byte, maxFrame int, err error) Reason {
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
