// Package segments moves large TCP segments over a tap: with a virtio-net header
// before each packet (struct virtio_net_hdr, linux/virtio_net.h and virtio 1.2,
// section 5.1.6) the kernel gives and takes up to 64 KiB of a connection in one
// system call. A Cutter makes frames of the connection's segment size of them, with
// every checksum made, and a Joiner puts such frames together again: what is between
// the two sees frames of the MTU only, and the kernel is the only one that is ever
// given a large segment. It has said that it takes them.
//
// Everything that is read is taken for hostile: a guest's packet sockets can make the
// kernel tell of segments that are none.
package segments

import (
	"encoding/binary"
	"errors"
)

// Len is the length of the header in bytes, as a tap has it unless told otherwise
// (TUNSETVNETHDRSZ).
const Len = 10

// MaxPacket is the longest packet in bytes, its header included: Ethernet with two
// VLAN tags, and the longest IP packet.
const MaxPacket = Len + 14 + 2*4 + 65535

// Errors of a Cutter, which it returns bare.
var (
	ErrMalformed = errors.New("virtio-net header that does not fit its packet")
	ErrTooBig    = errors.New("segments longer than a frame may be")
)

// Fields of the header (linux/virtio_net.h).
const (
	flagNeedsCsum = 1    // VIRTIO_NET_HDR_F_NEEDS_CSUM
	gsoNone       = 0    // VIRTIO_NET_HDR_GSO_NONE
	gsoTCPv4      = 1    // VIRTIO_NET_HDR_GSO_TCPV4
	gsoTCPv6      = 4    // VIRTIO_NET_HDR_GSO_TCPV6
	gsoECN        = 0x80 // VIRTIO_NET_HDR_GSO_ECN
)

// Offsets in TCP's header (RFC 9293, section 3.1).
const (
	tcpSeq, tcpOff, tcpFlags, tcpCsum = 4, 12, 13, 16
	flagFIN, flagPSH, flagACK         = 0x01, 0x08, 0x10
	flagCWR                           = 0x80
)

const (
	ethLen   = 14
	ip4Len   = 20
	ip6Len   = 40
	tcpLen   = 20
	protoTCP = 6
)

// A header is struct virtio_net_hdr. Its numbers have the machine's byte order.
type header struct {
	flags, gsoType                         uint8
	hdrLen, gsoSize, csumStart, csumOffset uint16
}

func parseHeader(b []byte) header {
	ne := binary.NativeEndian
	return header{b[0], b[1], ne.Uint16(b[2:]), ne.Uint16(b[4:]), ne.Uint16(b[6:]), ne.Uint16(b[8:])}
}

func (h header) put(b []byte) {
	ne := binary.NativeEndian
	b[0], b[1] = h.flags, h.gsoType
	ne.PutUint16(b[2:], h.hdrLen)
	ne.PutUint16(b[4:], h.gsoSize)
	ne.PutUint16(b[6:], h.csumStart)
	ne.PutUint16(b[8:], h.csumOffset)
}
