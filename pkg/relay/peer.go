package relay

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/relay/vnethdr"
)

// A link is the way to a peer: a Port, or one name on a named datagram socket.
type link interface {
	WriteBatch(frames [][]byte) (n int, err error)
	Close() error
}

// A prober can tell whether somebody is at the other end; a batch on its way may
// delay it by Config.PeerWait. probe is a frame that it may send to find out.
type prober interface {
	alive(probe []byte) bool
}

// An accountant counts refused messages where it is told, and waits as long.
type accountant interface {
	countInto(d *drops, wait time.Duration, t *Threads)
}

// A wholeWriter waits for the rest of a frame that its peer has a part of: a relay
// after this one goes on with the same socket, and begins with a frame.
type wholeWriter interface {
	whole(wait time.Duration)
}

var (
	_ wholeWriter = (*streamPort)(nil)

	_ accountant = (*dgramPort)(nil)
	_ accountant = (*streamPort)(nil)
)

// A peer is the guest's side of the relay for as long as it is the same one.
type peer struct {
	link    link
	header  int // bytes before its frames
	via     string
	since   time.Time
	name    string // of a peer on a named datagram socket
	socket  string // the name of that socket
	release func() // called when it is not the peer any more, unless the relay is closed; nil: nothing
}

func (p *peer) let() {
	if p.release != nil {
		p.release()
	}
}

// Attach makes p the peer at once; the peer before it, if any, is closed. The
// relay owns p. via is what Peer and PeerEvent tell ("fd"). After Close, p is
// closed at once.
func (r *Relay) Attach(p Port, via string) { r.AttachHeld(p, via, nil) }

// AttachHeld is Attach for a port whose socket somebody else holds open too:
// release is called when p is not the peer any more, and not at the end of the
// relay, after which p may be attached to another one.
func (r *Relay) AttachHeld(p Port, via string, release func()) {
	r.admit(p, via, nil, true, release)
}

// admit makes the port p the peer in a free place, in that of over, or of anyone,
// and serves it. Otherwise it closes p and returns false.
func (r *Relay) admit(p Port, via string, over *peer, anyone bool, release func()) bool {
	if a, ok := p.(accountant); ok {
		a.countInto(&r.fromGuest.drops, r.cfg.PeerWait, r.cfg.Threads)
	}
	np := &peer{link: p, header: r.hdr.of(p), via: via, since: time.Now(), release: release}
	if r.replace(np, over, anyone, func() { r.serve(np, p) }) {
		return true
	}
	_ = p.Close()
	return false
}

// replace makes np the peer, if nobody is the peer now, or over, or whoever is,
// closes the old one and tells of both. That the place is free counts even when
// over was there: its reader may have noticed the end in the meantime. serve, if
// any, runs in a goroutine from then on.
func (r *Relay) replace(np, over *peer, anyone bool, serve func()) bool {
	r.events.Lock()
	defer r.events.Unlock()
	r.mu.Lock()
	old := r.peer.Load()
	if r.closed || !anyone && old != nil && old != over {
		r.mu.Unlock()
		return false
	}
	r.peer.Store(np)
	if serve != nil {
		r.wg.Go(serve)
	}
	r.mu.Unlock()
	if old != nil {
		_ = old.link.Close() // its reader ends with net.ErrClosed, and is no event
		old.let()
		r.tell(PeerEvent{Via: old.via, Name: old.name, Socket: old.socket, At: np.since})
	}
	r.tell(PeerEvent{Connected: true, Via: np.via, Name: np.name, Socket: np.socket, At: np.since})
	return true
}

// lost ends p, if it is still the peer, because of err.
func (r *Relay) lost(p *peer, err error) {
	r.events.Lock()
	defer r.events.Unlock()
	r.mu.Lock()
	now := time.Now()
	was := r.peer.CompareAndSwap(p, nil)
	if was {
		r.gone.Store(now.UnixNano())
	}
	r.mu.Unlock()
	_ = p.link.Close()
	if !was {
		return
	}
	p.let()
	if errors.Is(err, io.EOF) || errors.Is(err, ErrPeerGone) {
		err = nil
	}
	r.tell(PeerEvent{Via: p.via, Name: p.name, Socket: p.socket, At: now, Err: err})
}

// tell calls OnPeer; the caller holds events.
func (r *Relay) tell(e PeerEvent) {
	if r.cfg.OnPeer != nil && !r.closing.Load() {
		r.cfg.OnPeer(e)
	}
}

// CheckPeer asks whether the peer is still there, lets go of it if not, and
// returns who is the peer then. It is for peers whose end the system does not
// tell: a peer that came as a datagram socket is sent one small frame, of an
// EtherType that guests ignore.
func (r *Relay) CheckPeer() PeerInfo {
	if p, gone := r.vacant(); p != nil && gone {
		r.lost(p, ErrPeerGone)
	}
	return r.Peer()
}

// vacant returns the peer and whether a newcomer may take its place: when there
// is none, or when it is gone. It may send the peer a probe.
func (r *Relay) vacant() (*peer, bool) {
	p := r.peer.Load()
	if p == nil {
		return nil, true
	}
	a, ok := p.link.(prober)
	return p, ok && !a.alive(r.probe(p.header))
}

// probe returns a frame that no guest minds: the EtherType is the first of those
// that IEEE 802 (clause 9.2.3) gives to local experiments. It has header bytes
// before it.
func (r *Relay) probe(header int) []byte {
	const minFrame = 60 // bytes, without frame check sequence (IEEE 802.3, 4A.4.2)
	msg := make([]byte, header+minFrame)
	if header > 0 {
		whole := vnethdr.Header{Buffers: 1}
		whole.Put(msg)
	}
	f := msg[header:]
	copy(f, r.cfg.ProbeMAC)
	copy(f[6:], net.HardwareAddr{0x02, 'v', 'm', 'n', 'e', 't'})
	f[12], f[13] = 0x88, 0xb5
	return msg
}
