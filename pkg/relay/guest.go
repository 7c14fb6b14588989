package relay

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/relay/vnethdr"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// defaultInterfaceWait is how long a batch waits for the interface's buffers.
const defaultInterfaceWait = 5 * time.Millisecond

// An upward is the way from the guest to the interface. Batches take turns, so
// that stages see one frame at a time also while one peer replaces another.
type upward struct {
	mu    sync.Mutex // guards all following, and the calls of stages
	who   *peer      // where replies go; nil between batches
	pass  [][]byte   // frames of the batch that go to the interface
	one   [1][]byte
	room  []byte             // for a reply to a peer with a header
	reply func(frame []byte) // made once, so that no frame costs an allocation
	limit *bucket            // nil: none
}

func (u *upward) init(r *Relay) {
	u.pass = make([][]byte, 0, maxBatch)
	u.reply = func(frame []byte) { r.answer(u, frame) }
}

// viewer is a port that shows frames where they are, so that they need not be
// copied before the interface copies them.
type viewer interface {
	readViews() ([][]byte, error)
}

// serve moves frames of the port p until it ends.
func (r *Relay) serve(who *peer, p Port) {
	read := r.reads(who, p)
	for {
		frames, err := read()
		r.upBatch(who, frames)
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed):
			return // closed by replace, lost or stop
		default:
			if errors.Is(err, ErrOutOfStep) {
				r.fromGuest.drops.add(ReasonOutOfStep, 1)
			}
			r.lost(who, err)
			return
		}
	}
}

// reads returns a function that returns the next messages of p, each with
// above(who.header) bytes before the frame.
func (r *Relay) reads(who *peer, p Port) func() ([][]byte, error) {
	gap := r.hdr.above(who.header) - who.header
	if v, ok := p.(viewer); ok && gap == 0 {
		return v.readViews
	}
	var b bundle
	b.reset(r.max+who.header, BatchLen(r.max), gap)
	return func() ([][]byte, error) {
		n, err := p.ReadBatch(b.get())
		return b.put(n), err
	}
}

// upBatch judges frames of the peer who and hands them to the interface.
func (r *Relay) upBatch(who *peer, frames [][]byte) {
	if len(frames) == 0 {
		return
	}
	u := &r.up
	u.mu.Lock()
	defer u.mu.Unlock()
	if r.peer.Load() != who {
		why := ReasonOtherPeer
		if r.closing.Load() {
			why = ReasonClosed
		}
		r.fromGuest.drops.add(why, len(frames))
		return
	}
	u.who = who
	lead := r.hdr.above(who.header)
	if lead == 0 {
		r.show(false, frames, 0)
	}
	for len(frames) > 0 {
		n := min(len(frames), cap(u.pass))
		u.pass = u.pass[:0]
		for _, f := range frames[:n] {
			if lead == 0 {
				r.judge(u, f, f)
			} else {
				r.judgeMessage(u, f, lead)
			}
		}
		if u.limit == nil {
			r.toInterface(u.pass)
		} else {
			r.limitUp(who, u.pass)
		}
		frames = frames[n:]
	}
	u.who = nil
}

// judgeMessage is judge for a frame that begins lead bytes into a message.
func (r *Relay) judgeMessage(u *upward, msg []byte, lead int) {
	frame := msg[min(lead, len(msg)):]
	if len(frame) >= vmnet.HeaderLen {
		if r.tees.Load() != nil {
			u.one[0] = frame
			r.show(false, u.one[:], 0)
			u.one[0] = nil
		}
		if r.hdr.accept(msg, lead, u.who.header) != nil {
			r.fromGuest.drops.add(ReasonMalformed, 1)
			return
		}
	}
	r.judge(u, frame, msg[min(lead, len(msg))-r.hdr.ifc:])
}

// judge asks the stages about one frame, and has the interface given pass, which is
// the frame with what the interface wants before it. The caller holds up.mu.
func (r *Relay) judge(u *upward, frame, pass []byte) {
	if why := judge(frame, len(frame), r.max); why != ReasonNone {
		r.fromGuest.drops.add(why, 1)
		return
	}
	for _, s := range r.cfg.Stages {
		verdict, why := s.FromGuest(frame, u.reply)
		switch verdict {
		case Pass:
			continue
		case Taken:
			r.fromGuest.frames.Add(1)
			r.fromGuest.bytes.Add(uint64(len(frame)))
		default:
			if why == ReasonNone || why >= numReasons {
				why = ReasonStage
			}
			r.fromGuest.drops.add(why, 1)
		}
		return
	}
	u.pass = append(u.pass, pass)
}

// answer sends a stage's frame to the guest; the caller holds up.mu.
func (r *Relay) answer(u *upward, frame []byte) {
	if u.who == nil {
		return // a stage kept reply for later
	}
	header := u.who.header
	u.one[0] = u.complete(frame, header)
	n, err := u.who.link.WriteBatch(u.one[:])
	r.show(true, u.one[:n], header)
	r.toGuest.passed(u.one[:n], header)
	r.answered.Add(uint64(n))
	if n == 0 {
		r.toGuest.drops.add(refusal(frame, err), 1)
	}
	u.one[0] = nil
}

// complete returns a whole frame with a header that says so, for a peer that has one.
func (u *upward) complete(frame []byte, header int) []byte {
	if header == 0 {
		return frame
	}
	whole := vnethdr.Header{Buffers: 1}
	u.room = append(u.room[:0], make([]byte, vnethdr.Len)...)
	whole.Put(u.room)
	u.room = append(u.room, frame...)
	return u.room
}

// toInterface hands frames to the interface, and waits for it a little if it
// must.
func (r *Relay) toInterface(frames [][]byte) {
	var end time.Time
	pause := minPause
	for len(frames) > 0 {
		n, err := r.ifc.WriteBatch(frames)
		r.fromGuest.passed(frames[:n], r.hdr.ifc)
		frames = frames[n:]
		if n > 0 {
			pause = minPause
		}
		switch {
		case err == nil && n > 0:
		case err == nil || errors.Is(err, vmnet.BufferExhausted):
			now := time.Now()
			if end.IsZero() {
				end = now.Add(r.cfg.InterfaceWait)
			}
			if !now.Before(end) || r.closing.Load() {
				r.fromGuest.drops.add(ReasonInterfaceFull, len(frames))
				return
			}
			time.Sleep(pause)
			pause = min(2*pause, maxPause)
		case errors.Is(err, net.ErrClosed):
			r.fromGuest.drops.add(ReasonClosed, len(frames))
			r.stop()
			return
		default:
			r.fromGuest.drops.add(interfaceRefusal(err), 1)
			frames = frames[1:]
		}
	}
}

// interfaceRefusal returns the reason for an error that is about one frame.
func interfaceRefusal(err error) Reason {
	if errors.Is(err, vmnet.PacketTooBig) {
		return ReasonTooBig
	}
	return ReasonInterface
}
