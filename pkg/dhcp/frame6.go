package dhcp

import (
	"net"
	"net/netip"

	"github.com/vmnet-cni/vmnet/internal/checksum"
)

// Lengths and numbers of IPv6 (RFC 8200), ICMPv6 and DHCPv6.
const (
	ip6Len    = 40
	icmp6Len  = 4
	etherIP6  = 0x86dd
	etherARP  = 0x0806
	protoICMP = 58

	serverPort6 = 547
	clientPort6 = 546

	routerSolicit   = 133 // RFC 4861, section 4.1
	routerAdvertise = 134
	neighborSolicit = 135
	neighborAdvert  = 136
)

// A kind6 is what a frame is to a ResponderV6.
type kind6 uint8

const (
	other6    kind6 = iota
	dhcp6           // to a DHCPv6 server or relay agent
	solicit6        // a router solicitation
	neighbor6       // neighbour discovery or ARP: the guest is alive
)

// maxExtensions bounds the extension headers before a message.
const maxExtensions = 8

// classify tells what the frame is and returns its UDP or ICMPv6 part, cut to
// the packet's length; nil when the lengths are wrong. The frame has at least 14
// bytes. It is the way of every frame: those that are no IPv6, and TCP, cost a
// few comparisons.
func classify(f []byte) (kind kind6, part []byte) {
	switch be.Uint16(f[12:]) {
	case etherARP:
		return neighbor6, nil
	case etherIP6:
	default:
		return other6, nil
	}
	if len(f) < etherLen+ip6Len || f[etherLen]>>4 != 6 {
		return other6, nil
	}
	ip := f[etherLen:]
	next, rest := ip[6], ip[ip6Len:]
	for i := 0; isExtension(next) && i < maxExtensions; i++ {
		if len(rest) < 8 || len(rest) < 8+int(rest[1])*8 {
			return other6, nil
		}
		next, rest = rest[0], rest[8+int(rest[1])*8:]
	}
	if kind = kindOf(next, rest); kind == other6 || kind == neighbor6 {
		return kind, nil
	}
	// Bytes after the IP packet are Ethernet's padding.
	if n := int(be.Uint16(ip[4:])); n <= len(ip)-ip6Len {
		if padding := len(ip) - ip6Len - n; padding <= len(rest) {
			return kind, rest[:len(rest)-padding]
		}
	}
	return kind, nil
}

// isExtension reports whether next is an extension header that a client could put
// before its message: hop-by-hop options, routing, destination options. Fragments
// of neighbour discovery are ignored by everybody (RFC 6980), and no client cuts
// its messages.
func isExtension(next byte) bool { return next == 0 || next == 43 || next == 60 }

func kindOf(next byte, b []byte) kind6 {
	switch {
	case next == protoUDP && len(b) >= udpLen && be.Uint16(b[2:]) == serverPort6:
		return dhcp6
	case next == protoICMP && len(b) >= icmp6Len && b[0] == routerSolicit:
		return solicit6
	case next == protoICMP && len(b) >= icmp6Len && (b[0] == neighborSolicit || b[0] == neighborAdvert):
		return neighbor6
	}
	return other6
}

// payload6 returns the payload of a UDP part, or false if its length is wrong.
func payload6(udp []byte) ([]byte, bool) {
	if len(udp) < udpLen {
		return nil, false
	}
	n := int(be.Uint16(udp[4:]))
	if n < udpLen || n > len(udp) {
		return nil, false
	}
	return udp[udpLen:n], true
}

// source6 returns the source address of a frame that classify knows.
func source6(f []byte) netip.Addr {
	return netip.AddrFrom16([16]byte(f[etherLen+8 : etherLen+24]))
}

// A header6 says between whom a reply goes.
type header6 struct {
	srcMAC, dstMAC net.HardwareAddr
	src, dst       netip.Addr
	hops           byte
}

// udp returns the frame that carries a message to the client's port.
func (h header6) udp(msg []byte) []byte {
	f := h.frame(protoUDP, udpLen+len(msg))
	udp := f[etherLen+ip6Len:]
	be.PutUint16(udp, serverPort6)
	be.PutUint16(udp[2:], clientPort6)
	be.PutUint16(udp[4:], uint16(len(udp)))
	copy(udp[udpLen:], msg)
	be.PutUint16(udp[6:], checksum.UDP(sum6(f, protoUDP)))
	return f
}

// icmp returns the frame of an ICMPv6 message whose checksum is still zero.
func (h header6) icmp(msg []byte) []byte {
	f := h.frame(protoICMP, len(msg))
	copy(f[etherLen+ip6Len:], msg)
	be.PutUint16(f[etherLen+ip6Len+2:], ^checksum.Fold(sum6(f, protoICMP)))
	return f
}

// frame returns a frame with its Ethernet and IPv6 headers.
func (h header6) frame(next byte, length int) []byte {
	f := make([]byte, etherLen+ip6Len+length)
	copy(f, h.dstMAC)
	copy(f[6:], h.srcMAC)
	be.PutUint16(f[12:], etherIP6)
	ip, src, dst := f[etherLen:], h.src.As16(), h.dst.As16()
	ip[0] = 6 << 4
	be.PutUint16(ip[4:], uint16(length))
	ip[6], ip[7] = next, h.hops
	copy(ip[8:], src[:])
	copy(ip[24:], dst[:])
	return f
}

// sum6 returns the sum of what follows the IPv6 header, with the pseudo header.
func sum6(f []byte, next byte) uint32 {
	ip, part := f[etherLen:], f[etherLen+ip6Len:]
	return checksum.Add(checksum.Pseudo(ip, next, len(part)), part)
}
