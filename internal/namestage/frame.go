package namestage

import (
	"encoding/binary"
	"net/netip"

	"github.com/vmnet-cni/vmnet/internal/checksum"
)

// Lengths and numbers of Ethernet, IPv4 (RFC 791), IPv6 (RFC 8200) and UDP.
const (
	etherLen = 14
	ip4Len   = 20
	ip6Len   = 40
	udpLen   = 8

	etherIP4 = 0x0800
	etherIP6 = 0x86dd
	protoUDP = 17
	port     = 53
)

// A packet is a frame that may be a DNS query.
type packet struct {
	server netip.Addr
	head   int // bytes before UDP
	query  []byte
}

// parse finds the query in a frame. Fragments, extension headers and VLAN tags are
// not looked behind: no client has them. Lengths are checked, checksums are not: a
// guest may leave them to the device.
func parse(f []byte) (p packet, ok bool) {
	if len(f) < etherLen+ip4Len+udpLen {
		return p, false
	}
	ip, end := f[etherLen:], 0
	switch binary.BigEndian.Uint16(f[12:]) {
	case etherIP4:
		// Version 4 without options; don't-fragment is all that may be set.
		if ip[0] != 0x45 || ip[9] != protoUDP || binary.BigEndian.Uint16(ip[6:])&0xbfff != 0 {
			return p, false
		}
		p.head, end = etherLen+ip4Len, etherLen+int(binary.BigEndian.Uint16(ip[2:]))
	case etherIP6:
		if len(ip) < ip6Len+udpLen || ip[0]>>4 != 6 || ip[6] != protoUDP {
			return p, false
		}
		p.head, end = etherLen+ip6Len, etherLen+ip6Len+int(binary.BigEndian.Uint16(ip[4:]))
	default:
		return p, false
	}
	udp := f[p.head:]
	if binary.BigEndian.Uint16(udp[2:]) != port {
		return p, false
	}
	n := int(binary.BigEndian.Uint16(udp[4:]))
	if n < udpLen || end > len(f) || p.head+n > end {
		return p, false
	}
	p.query = udp[udpLen:n]
	if p.head == etherLen+ip4Len {
		p.server = netip.AddrFrom4([4]byte(ip[16:20]))
	} else {
		p.server = netip.AddrFrom16([16]byte(ip[24:40]))
	}
	return p, true
}

// back returns the frame that carries answer to where f, whose packet is p, came
// from.
func (p packet) back(f, answer []byte) []byte {
	out := make([]byte, p.head+udpLen+len(answer))
	copy(out, f[6:12])
	copy(out[6:], f[:6])
	copy(out[12:], f[12:14])
	ip, old, udp := out[etherLen:], f[etherLen:], out[p.head:]
	if p.head == etherLen+ip4Len {
		ip[0], ip[8], ip[9] = 0x45, 64, protoUDP
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		copy(ip[12:], old[16:20])
		copy(ip[16:], old[12:16])
		binary.BigEndian.PutUint16(ip[10:], ^checksum.Fold(checksum.Add(0, ip[:ip4Len])))
	} else {
		ip[0], ip[6], ip[7] = 6<<4, protoUDP, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(len(udp)))
		copy(ip[8:], old[24:40])
		copy(ip[24:], old[8:24])
	}
	copy(udp, f[p.head+2:p.head+4])
	copy(udp[2:], f[p.head:p.head+2])
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	copy(udp[udpLen:], answer)
	binary.BigEndian.PutUint16(udp[6:], checksum.UDP(checksum.Add(checksum.Pseudo(ip, protoUDP, len(udp)), udp)))
	return out
}
