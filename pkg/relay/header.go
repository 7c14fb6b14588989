package relay

import (
	"github.com/vmnet-cni/vmnet/pkg/relay/vnethdr"
)

// HeaderLen is the length of a virtio-net header in bytes.
const HeaderLen = vnethdr.Len

// headers is where virtio-net headers are on the way through a relay. The zero value,
// without any, costs nothing.
//
// The interface has one before every frame, or none; so has each peer. A buffer has
// lead bytes before the Ethernet frame, which is what stages, tees, limits and
// counters see, and whoever has no header gets the frame from there on. Where one
// side has a header and the other has none, it is made from the frame, or what it
// says is done: then the checksum is made, and the segment goes on in one piece. Cut
// it is nowhere: all guests of a network with offload take large frames.
type headers struct {
	ifc    int // bytes before the interface's frames
	socket int // bytes before those of peers on sockets
	lead   int // bytes before those to the guest, in our buffers
	mtu    int
}

// newHeaders returns where headers are, given how the interface has them.
func newHeaders(cfg *Config, ifc, mtu int) headers {
	h := headers{ifc: ifc, lead: ifc, mtu: mtu}
	if cfg.Header {
		h.socket, h.lead = HeaderLen, HeaderLen
	}
	return h
}

// of returns how many bytes of header the frames of a port have. A tap's port keeps
// its header to itself.
func (h *headers) of(p Port) int {
	if p.Kind() == KindTap {
		return 0
	}
	return h.socket
}

// above returns how many bytes are before a frame from a peer with header bytes.
func (h *headers) above(header int) int { return max(header, h.ifc) }

// accept makes the header of a message of a peer what the interface wants before
// the frame, which begins lead bytes into the message. The guest is not believed.
func (h *headers) accept(msg []byte, lead, header int) error {
	frame := msg[lead:]
	if header == 0 {
		// It may have left checksums open, and has no way to tell.
		made := vnethdr.Describe(frame, h.mtu, true)
		made.Put(msg)
		return nil
	}
	said := vnethdr.Parse(msg)
	if err := said.Check(frame); err != nil {
		return err
	}
	if h.ifc == 0 {
		said.Finish(frame)
		return nil
	}
	said.Put(msg)
	return nil
}

// present returns the part of a message of the interface that a peer with header
// bytes gets. The frame begins h.lead bytes into the message.
func (h *headers) present(msg []byte, header int) []byte {
	frame := msg[h.lead:]
	switch {
	case header == 0 && h.ifc == 0:
	case header == 0:
		said := vnethdr.Parse(msg[h.lead-h.ifc:])
		said.Finish(frame)
	case h.ifc == 0:
		made := vnethdr.Describe(frame, h.mtu, false)
		made.Buffers = 1
		made.Put(msg[h.lead-header:])
	default:
		// A tap leaves the field as it was (tun_put_user in linux/drivers/net/tun.c
		// writes 10 bytes of 12), and 1 is what it has to be without merged buffers
		// (virtio 1.2, section 5.1.6.4.1).
		said := vnethdr.Parse(msg[h.lead-header:])
		said.Buffers = 1
		said.Put(msg[h.lead-header:])
	}
	return msg[h.lead-header:]
}

// MaxMessage returns how large the messages of a peer on a socket can be, in bytes:
// the largest frame and, with Config.Header, what is before it.
func (r *Relay) MaxMessage() int { return r.max + r.hdr.socket }
