package relay

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Config says how a relay works. The zero value is good.
type Config struct {
	// Stages see every frame of the guest, in this order.
	Stages []Stage
	// OnPeer is told when a peer came or went, one call at a time, in order. It
	// must not call Attach or Close, nor wait for somebody who does; Peer and
	// Stats are fine.
	OnPeer func(PeerEvent)
	// Hold, if not nil, is called with the socket of a newcomer on a named stream
	// socket. What it returns is called when that is not the peer, or not any more,
	// and not at the end of the relay: whoever held the socket can attach it to
	// another one.
	Hold func(syscall.Conn) (release func())
	// ProbeMAC is the destination of the frame that asks whether a datagram peer
	// is still there. Nil: the interface's MAC.
	ProbeMAC net.HardwareAddr
	// PeerWait is how long one batch may wait for a peer whose queue is full.
	// Zero: 20 ms.
	PeerWait time.Duration
	// CloseWait is how long Close waits for the rest of a frame of which the peer on a
	// stream has a part. Zero: 20 ms.
	CloseWait time.Duration
	// InterfaceWait is how long one batch may wait for an interface whose buffers
	// are exhausted. Zero: 5 ms.
	InterfaceWait time.Duration
	// Threads bounds how many relays wait for a busy guest in a thread of their
	// own. Nil: no bound.
	Threads *Threads
	// Limits bound the rates of frames. Answers of stages are not counted.
	Limits Limits
	// Gone is when the last peer of a relay before this one went, for Peer to tell.
	// Zero: there was none, or it is still there.
	Gone time.Time
	// Header says that the messages of peers on sockets begin with a virtio-net header
	// of HeaderLen bytes, both ways; a stream's length counts it. Whoever sets it has
	// asked the guest's side.
	Header bool
}

// A PeerEvent tells that a peer came or went.
type PeerEvent struct {
	Connected bool
	Via       string    // how it came: "fd", "dgram", "stream", or what Attach was given
	Name      string    // of a peer on a named datagram socket: its own, for ListenDatagramFor
	Socket    string    // the name of that socket
	At        time.Time // when it came or went
	Err       error     // why it went: nil when it closed or was replaced
}

// PeerInfo is the guest's side of a relay.
type PeerInfo struct {
	Connected bool
	Via       string    // "" when not connected
	Since     time.Time // when it came; zero when not connected
	Gone      time.Time // when the last one went; zero when connected, and when there was none
}

// Stats are a relay's counters since New.
type Stats struct {
	// FromGuest counts frames that the interface or a stage took.
	FromGuest Direction
	// ToGuest counts frames that the guest's socket took, answers included.
	ToGuest Direction
	// Answered counts frames that stages sent to the guest.
	Answered uint64
	// Refused counts stream connections closed because a peer was there.
	Refused uint64
}

// Direction counts one way.
type Direction struct {
	Frames uint64
	Bytes  uint64
	// Drops counts dropped frames by Reason.String; zeros are left out.
	Drops map[string]uint64
}

// A Relay moves frames between an interface and the guest behind it. Its methods
// may be called from several goroutines at once.
//
//	goroutine                     does
//	----------------------------  ------------------------------------------------
//	the device's handler          pump: interface → guest
//	one a port, while it is peer  serve: guest → stages → interface
//	one a named datagram socket   the same, for whoever is its peer
//	one a stream listener         accept
//
// Lock order: events, mu; up alone; a port's own locks last.
type Relay struct {
	ifc *vmnet.Interface
	cfg Config
	max int // the largest frame in bytes, without a header before it
	hdr headers

	fromGuest, toGuest counters
	answered, refused  atomic.Uint64

	peer    atomic.Pointer[peer]
	gone    atomic.Int64          // when the last peer went, in nanoseconds; 0: none has
	tees    atomic.Pointer[[]Tee] // nil: none; changed under mu
	closing atomic.Bool
	down    downward // used by the handler only
	up      upward

	events sync.Mutex // held while the peer changes and OnPeer is told
	mu     sync.Mutex // guards all following, and changes of peer
	closed bool
	ears   []io.Closer // the listeners

	wg   sync.WaitGroup // every goroutine of the relay; Add under mu
	once sync.Once      // Close
}

// New returns a relay for ifc and takes over its events (SetEventHandler). It
// does not own ifc: the caller closes it after the relay. Without a peer frames
// of the interface are dropped.
func New(ifc *vmnet.Interface, cfg Config) (*Relay, error) {
	if cfg.ProbeMAC == nil {
		cfg.ProbeMAC = ifc.MAC()
	}
	if cfg.PeerWait == 0 {
		cfg.PeerWait = defaultPeerWait
	}
	if cfg.CloseWait == 0 {
		cfg.CloseWait = defaultPeerWait
	}
	if cfg.InterfaceWait == 0 {
		cfg.InterfaceWait = defaultInterfaceWait
	}
	info := ifc.Info()
	r := &Relay{ifc: ifc, cfg: cfg, max: info.MaxPacketSize - info.VnetHeader}
	if !cfg.Gone.IsZero() {
		r.gone.Store(cfg.Gone.UnixNano())
	}
	r.hdr = newHeaders(&cfg, info.VnetHeader, info.MTU)
	r.down.init(info, r.hdr.lead-info.VnetHeader)
	r.up.init(r)
	r.up.limit = newBucket(cfg.Limits.FromGuest, r.max, r.hdr.ifc)
	r.down.limit = newBucket(cfg.Limits.ToGuest, r.max, r.hdr.lead)
	pump := r.pump
	if r.down.limit != nil {
		pump = r.pumpLimited
	}
	if err := ifc.SetEventHandler(pump); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	return r, nil
}

// Peer tells who is the peer now.
func (r *Relay) Peer() PeerInfo {
	p := r.peer.Load()
	if p == nil {
		if at := r.gone.Load(); at != 0 {
			return PeerInfo{Gone: time.Unix(0, at)}
		}
		return PeerInfo{}
	}
	return PeerInfo{Connected: true, Via: p.via, Since: p.since}
}

// Stats returns the counters.
func (r *Relay) Stats() Stats {
	return Stats{
		FromGuest: r.fromGuest.snapshot(),
		ToGuest:   r.toGuest.snapshot(),
		Answered:  r.answered.Load(),
		Refused:   r.refused.Load(),
	}
}

// Queued returns how many bytes wait now on their way from the guest and to it, as
// far as driver and system tell. It costs two system calls, and takes no
// lock that frames take.
func (r *Relay) Queued() (fromGuest, toGuest int) {
	toGuest = r.ifc.Queued() + int(r.down.queued.Load())
	p := r.peer.Load()
	if p == nil {
		return 0, toGuest
	}
	if q, ok := p.link.(queuer); ok {
		in, out := q.queued()
		return in, toGuest + out
	}
	return 0, toGuest
}

// Ended reports whether the relay moves no frames any more: after Close, or since
// its interface was found closed.
func (r *Relay) Ended() bool { return r.closing.Load() }

// Close ends the relay: it stops the interface's events, closes the peer and the
// listeners, and waits until no goroutine of the relay is left. It does not close
// the interface. OnPeer is not told of the end. It is idempotent.
func (r *Relay) Close() error {
	r.once.Do(func() {
		r.stop()
		_ = r.ifc.SetEventHandler(nil) // fails only when the interface is closed
		r.wg.Wait()
	})
	return nil
}

// stop closes everything that a goroutine of the relay may wait for. It waits
// for none of them, so they may call it, but for a frame on its way to the peer.
func (r *Relay) stop() {
	r.closing.Store(true)
	r.mu.Lock()
	ears, p := r.ears, r.peer.Load()
	r.ears, r.closed = nil, true
	r.peer.Store(nil)
	r.mu.Unlock()
	for _, l := range ears {
		_ = l.Close() // nothing is lost with a listener
	}
	if p == nil {
		return
	}
	if w, ok := p.link.(wholeWriter); ok {
		w.whole(r.cfg.CloseWait)
	}
	_ = p.link.Close()
}

// start runs fn in a goroutine that Close joins, unless the relay is closed. l,
// if not nil, is closed by stop.
func (r *Relay) start(l io.Closer, fn func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	if l != nil {
		r.ears = append(r.ears, l)
	}
	r.wg.Go(fn)
	return true
}
