package vnethdr

import (
	"encoding/binary"

	"github.com/vmnet-cni/vmnet/internal/checksum"
)

// Ethernet, IP, TCP and UDP, as far as they matter here.
const (
	etherLen    = 14
	etherIPv4   = 0x0800
	etherIPv6   = 0x86dd
	ipv4Len     = 20
	ipv6Len     = 40
	tcpLen      = 20
	tcpChecksum = 16
	udpLen      = 8
	udpChecksum = 6
	protoTCP    = 6
	protoUDP    = 17
)

// A packet is where the parts of a TCP or UDP frame are.
type packet struct {
	proto   uint8
	v6      bool
	l4      int // where TCP or UDP begins
	payload int // where what they carry begins
	end     int // where the IP packet ends
}

// parse finds the parts of a whole TCP or UDP packet, without fragments and, for
// IPv6, extension headers; ok says that it is one, and lies inside of the frame.
func parse(f []byte) (p packet, ok bool) {
	if len(f) < etherLen+ipv4Len {
		return p, false
	}
	ip := f[etherLen:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case etherIPv4:
		ihl := int(ip[0]&15) * 4
		if ip[0]>>4 != 4 || ihl < ipv4Len || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 { // more fragments, offset
			return p, false
		}
		p = packet{proto: ip[9], l4: etherLen + ihl, end: etherLen + int(binary.BigEndian.Uint16(ip[2:]))}
	case etherIPv6:
		if len(ip) < ipv6Len || ip[0]>>4 != 6 {
			return p, false
		}
		p = packet{proto: ip[6], v6: true, l4: etherLen + ipv6Len, end: etherLen + ipv6Len + int(binary.BigEndian.Uint16(ip[4:]))}
	default:
		return p, false
	}
	if p.end > len(f) {
		return p, false
	}
	switch p.proto {
	case protoTCP:
		if p.l4+tcpLen > p.end {
			return p, false
		}
		off := int(f[p.l4+12]>>4) * 4
		p.payload = p.l4 + off
		return p, off >= tcpLen && p.payload <= p.end
	case protoUDP:
		p.payload = p.l4 + udpLen
		return p, p.payload <= p.end
	}
	return p, false
}

// Describe returns the header of a frame that came without one, on a link where
// segments cross in one piece. A TCP segment longer than mtu is to be cut into as
// many as that needs; its checksum is opened, as the header then has to say. So are
// those of all TCP and UDP packets when open is true: for a sender that may have left
// them open and had no way to tell. A frame that is nothing of that has the zero
// header.
func Describe(frame []byte, mtu int, open bool) Header {
	p, ok := parse(frame)
	if !ok {
		return Header{}
	}
	large := p.proto == protoTCP && len(frame) > etherLen+mtu && mtu > p.payload-etherLen
	if !large && !open {
		return Header{}
	}
	h := Header{Flags: NeedsChecksum, ChecksumStart: uint16(p.l4), ChecksumOffset: tcpChecksum}
	if p.proto == protoUDP {
		h.ChecksumOffset = udpChecksum
		if binary.BigEndian.Uint16(frame[p.l4+udpChecksum:]) == 0 {
			return Header{} // RFC 768: none was made
		}
	}
	if large {
		h.GSO = GSOTCP4
		if p.v6 {
			h.GSO = GSOTCP6
		}
		h.HeaderLen = uint16(p.payload)
		h.SegmentSize = uint16(mtu - (p.payload - etherLen))
	}
	binary.BigEndian.PutUint16(frame[p.l4+int(h.ChecksumOffset):], checksum.Fold(checksum.Pseudo(frame[etherLen:], p.proto, p.end-p.l4)))
	return h
}
