package relay

import (
	"errors"
	"net"
	"os"
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
	// ProbeMAC is the destination of the frame that asks whether a datagram peer
	// is still there. Nil: the interface's MAC.
	ProbeMAC net.HardwareAddr
	// PeerWait is how long one batch may wait for a peer whose queue is full.
	// Zero: 20 ms.
	PeerWait time.Duration
	// InterfaceWait is how long one batch may wait for an interface whose buffers
	// are exhausted. Zero: 5 ms.
	InterfaceWait time.Duration
}

// A PeerEvent tells that a peer came or went.
type PeerEvent struct {
	Connected bool
	Via       string // how it came: "fd", "dgram", "stream", or what Attach was given
	Err       error  // why it went: nil when it closed or was replaced
}

// PeerInfo is the guest's side of a relay.
type PeerInfo struct {
	Connected bool
	Via       string    // "" when not connected
	Since     time.Time // when it came; zero when not connected
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
type Relay struct{}

// New returns a relay for ifc and takes over its events (SetEventHandler). It
// does not own ifc: the caller closes it after the relay. Without a peer frames
// of the interface are dropped.
func New(ifc *vmnet.Interface, cfg Config) (*Relay, error) { return nil, errors.ErrUnsupported }

// Attach makes p the peer at once; the peer before it, if any, is closed. The
// relay owns p. via is what Peer and PeerEvent tell ("fd"). After Close, p is
// closed at once.
func (r *Relay) Attach(p Port, via string) {}

// ListenDatagram takes peers from c, a named AF_UNIX SOCK_DGRAM socket: whoever
// sends a datagram becomes the peer. It owns c, also when it fails; the socket's
// file is the caller's to remove.
func (r *Relay) ListenDatagram(c *net.UnixConn) error { return errors.ErrUnsupported }

// ListenStream takes peers from l. It owns l, also when it fails; the socket's
// file is the caller's to remove.
func (r *Relay) ListenStream(l *net.UnixListener) error { return errors.ErrUnsupported }

// Peer tells who is the peer now.
func (r *Relay) Peer() PeerInfo { return PeerInfo{} }

// Stats returns the counters.
func (r *Relay) Stats() Stats { return Stats{} }

// Close ends the relay: it stops the interface's events, closes the peer and the
// listeners, and waits until no goroutine of the relay is left. It does not close
// the interface. It is idempotent.
func (r *Relay) Close() error { return nil }

func newPort(f *os.File, maxFrame int, kind string) (Port, error) { return nil, errors.ErrUnsupported }

// BatchLen returns how many frames of at most maxFrame bytes are moved at once.
func BatchLen(maxFrame int) int { return min(64, max(16, 256<<10/max(maxFrame, 1))) }
