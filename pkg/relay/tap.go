package relay

import (
	"fmt"
	"os"
)

// KindTap is the kind of a port that is a tap interface: one frame a read(2) or
// write(2), or up to 64 KiB of a TCP connection where it has a virtio-net header.
const KindTap = "tap"

// NewTapPort returns the port of f, the descriptor of a tap interface of one queue
// without packet information (IFF_TAP and IFF_NO_PI), whose other end is the kernel's
// network stack in whichever namespace the interface is. With a virtio-net header
// (IFF_VNET_HDR) that stack is offered large TCP segments both ways; ReadBatch and
// WriteBatch move frames of the MTU all the same, with every checksum made.
// maxFrame is the largest frame in bytes. The port owns f's descriptor: f is
// closed, also when NewTapPort fails. The port is gone when the interface is, and
// the interface when the port and all duplicates of f are closed.
//
// The error wraps errors.ErrUnsupported where there are no taps.
func NewTapPort(f *os.File, maxFrame int) (Port, error) {
	p, err := newTapPort(f, maxFrame)
	if err != nil {
		return nil, fmt.Errorf("tap port: %w", err)
	}
	return p, nil
}
