package relay

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// defaultInterfaceWait is how long a batch waits for the interface's buffers.
const defaultInterfaceWait = 5 * time.Millisecond

// An upward is the way from the guest to the interface. Batches take turns, so
// that stages see one frame at a time also while one peer replaces another.
type upward struct {
	mu    sync.Mutex // guards all following, and the calls of stages
	link  link       // where replies go
	pass  [][]byte   // frames of the batch that go to the interface
	one   [1][]byte
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
	read := r.reads(p)
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

// reads returns a function that returns the next frames of p.
func (r *Relay) reads(p Port) func() ([][]byte, error) {
	if v, ok := p.(viewer); ok {
		return v.readViews
	}
	var b bundle
	b.reset(r.max, BatchLen(r.max))
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
	u.link = who.link
	r.show(false, frames)
	for len(frames) > 0 {
		n := min(len(frames), cap(u.pass))
		u.pass = u.pass[:0]
		for _, f := range frames[:n] {
			r.judge(u, f)
		}
		if u.limit == nil {
			r.toInterface(u.pass)
		} else {
			r.limitUp(who, u.pass)
		}
		frames = frames[n:]
	}
	u.link = nil
}

// judge asks the stages about one frame; the caller holds up.mu.
func (r *Relay) judge(u *upward, frame []byte) {
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
	u.pass = append(u.pass, frame)
}

// answer sends a stage's frame to the guest; the caller holds up.mu.
func (r *Relay) answer(u *upward, frame []byte) {
	if u.link == nil {
		return // a stage kept reply for later
	}
	u.one[0] = frame
	n, err := u.link.WriteBatch(u.one[:])
	r.show(true, u.one[:n])
	r.toGuest.passed(u.one[:n])
	r.answered.Add(uint64(n))
	if n == 0 {
		r.toGuest.drops.add(refusal(frame, r.max, err), 1)
	}
	u.one[0] = nil
}

// toInterface hands frames to the interface, and waits for it a little if it
// must.
func (r *Relay) toInterface(frames [][]byte) {
	var end time.Time
	pause := minPause
	for len(frames) > 0 {
		n, err := r.ifc.WriteBatch(frames)
		r.fromGuest.passed(frames[:n])
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
