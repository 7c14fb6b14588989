package capture

import (
	"encoding/binary"
	"net/netip"
)

// EtherTypes and IP protocols (IANA).
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd

	protoICMP     = 1
	protoTCP      = 6
	protoUDP      = 17
	protoSCTP     = 132
	protoFragment = 44
	protoICMPv6   = 58
)

// A packet is a frame as filters see it. Whatever is cut off is not there.
type packet struct {
	frame     []byte
	size      int // bytes that were on the way
	etherType uint16
	proto     int // of IP, behind a fragment header as well; -1: none
	src, dst  netip.Addr
	payload   []byte // of IP; nil: none, or not the first fragment
}

func (p *packet) parse() {
	p.proto = -1
	if len(p.frame) < 14 {
		return
	}
	p.etherType = binary.BigEndian.Uint16(p.frame[12:])
	b := p.frame[14:]
	switch {
	case p.etherType == typeIPv4 && len(b) >= 20:
		p.proto = int(b[9])
		p.src, p.dst = addr4(b[12:]), addr4(b[16:])
		if head := int(b[0]&15) * 4; binary.BigEndian.Uint16(b[6:])&0x1fff == 0 && head >= 20 && head <= len(b) {
			p.payload = b[head:]
		}
	case p.etherType == typeIPv6 && len(b) >= 40:
		p.proto = int(b[6])
		p.src, p.dst = addr16(b[8:]), addr16(b[24:])
		p.payload = b[40:]
		if p.proto == protoFragment && len(b) >= 48 {
			p.proto, p.payload = int(b[40]), nil // as libpcap: no ports behind it
		}
	case p.etherType == typeARP && len(b) >= 28 && binary.BigEndian.Uint16(b[2:]) == typeIPv4:
		p.src, p.dst = addr4(b[14:]), addr4(b[24:])
	}
}

func addr4(b []byte) netip.Addr  { return netip.AddrFrom4([4]byte(b[:4])) }
func addr16(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b[:16])) }

// protocol reports whether the frame has this IP protocol.
func (p *packet) protocol(n int) bool { return p.proto == n }

// address reports whether a source or destination is in prefix; side says which.
func (p *packet) address(side string, prefix netip.Prefix) bool {
	in := func(a netip.Addr) bool { return a.IsValid() && prefix.Contains(a) }
	return side != "dst" && in(p.src) || side != "src" && in(p.dst)
}

// port reports whether a port is in a range; side says which.
func (p *packet) port(side string, first, last uint16) bool {
	if p.proto != protoTCP && p.proto != protoUDP && p.proto != protoSCTP || len(p.payload) < 4 {
		return false
	}
	in := func(n uint16) bool { return first <= n && n <= last }
	return side != "dst" && in(binary.BigEndian.Uint16(p.payload)) ||
		side != "src" && in(binary.BigEndian.Uint16(p.payload[2:]))
}
