package relay

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Kinds of framing, as Port.Kind returns them.
const (
	KindDatagram = "dgram"  // one frame a datagram
	KindStream   = "stream" // a 4-byte big-endian length before each frame
)

// MaxStreamFrame is the largest length that a stream may announce, in bytes: 64
// KiB and a header. A larger one means that the stream is out of step.
const MaxStreamFrame = 65536 + vmnet.HeaderLen

// Conditions that a Port returns bare, so that they cost nothing.
var (
	// ErrQueueFull says that the peer took no more frames within the wait.
	ErrQueueFull = errors.New("the peer's queue is full")
	// ErrPeerGone says that nobody is at the other end any more.
	ErrPeerGone = errors.New("the peer is gone")
	// ErrFrameSize says that a frame cannot be sent: it is shorter than
	// vmnet.HeaderLen, or longer than the port or its send buffer takes.
	ErrFrameSize = errors.New("frame size out of range")
	// ErrOutOfStep says that a stream announced a frame that cannot be.
	ErrOutOfStep = fmt.Errorf("stream out of step: a frame of more than %d bytes was announced", MaxStreamFrame)
)

// A Port is one connected frame socket, as seen from either side. One goroutine
// may read while another writes; writers take turns, batch by batch.
type Port interface {
	// ReadBatch moves frames into bufs and waits until there is at least one:
	// frame i is bufs[i][:sizes[i]]. Every buffer has at least as many bytes as
	// the largest frame, sizes is at least as long as bufs. What is not a frame
	// is swallowed. It returns io.EOF when the peer is gone (a datagram peer's
	// end is noticed by WriteBatch only), ErrOutOfStep, and net.ErrClosed after
	// Close.
	ReadBatch(bufs [][]byte, sizes []int) (n int, err error)
	// WriteBatch sends frames in order and returns how many were taken; when n <
	// len(frames), err says why frame n was not: ErrQueueFull after a bounded
	// wait, ErrPeerGone, ErrFrameSize, net.ErrClosed. It does not keep frames,
	// and never sends a part of one without the rest.
	WriteBatch(frames [][]byte) (n int, err error)
	// Kind returns KindDatagram, KindStream or KindTap.
	Kind() string
	// Close closes the socket and makes the other methods return net.ErrClosed.
	// It is idempotent.
	Close() error
}

// NewDatagramPort returns the port of f, one end of a connected AF_UNIX
// SOCK_DGRAM socket. maxFrame is the largest frame in bytes. The port owns f's
// descriptor: f is closed, also when NewDatagramPort fails.
func NewDatagramPort(f *os.File, maxFrame int) (Port, error) {
	s, err := fromFile(f, maxFrame, unix.SOCK_DGRAM)
	if err != nil {
		return nil, fmt.Errorf("datagram port: %w", err)
	}
	return newDgramPort(s, false), nil
}

// NewStreamPort returns the port of f, one end of a connected SOCK_STREAM
// socket, AF_UNIX or TCP. maxFrame is the largest frame in bytes. The port owns
// f's descriptor: f is closed, also when NewStreamPort fails.
func NewStreamPort(f *os.File, maxFrame int) (Port, error) {
	s, err := fromFile(f, maxFrame, unix.SOCK_STREAM)
	if err != nil {
		return nil, fmt.Errorf("stream port: %w", err)
	}
	return newStreamPort(s), nil
}

// ResumePort returns the port of f, a connected socket whose reader and writer
// died, of either kind. A stream may stand in the middle of a frame: see
// Decoder.Resync; mac is the guest's address, header the length of what is before
// each frame. The port owns f's descriptor.
func ResumePort(f *os.File, maxFrame, header int, mac net.HardwareAddr) (Port, error) {
	if f != nil && checkType(f, unix.SOCK_STREAM) != nil {
		return NewDatagramPort(f, maxFrame)
	}
	s, err := fromFile(f, maxFrame, unix.SOCK_STREAM)
	if err != nil {
		return nil, fmt.Errorf("stream port: %w", err)
	}
	p := newStreamPort(s)
	p.in.dec = NewDecoder(maxFrame)
	p.in.dec.Resync(mac, header)
	return p, nil
}
