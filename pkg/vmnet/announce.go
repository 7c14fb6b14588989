package vmnet

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// minFrame is the shortest frame that is sent, in bytes, without frame check
// sequence (IEEE 802.3, 4A.4.2).
const minFrame = 60

// Announce returns a frame from mac that tells its network that ip is there: a
// gratuitous ARP request (RFC 5227, section 3), or an unsolicited neighbour
// advertisement (RFC 4861, section 7.2.6). It is nil for what is neither an IPv4
// nor an IPv6 address.
func Announce(mac net.HardwareAddr, ip netip.Addr) []byte {
	switch {
	case ip.Is4():
		return arpRequest(mac, ip, ip)
	case ip.Is6():
		const override = 0x20000000
		return neighbour(mac, ip, allNodes, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, 136, override, ip, 2)
	}
	return nil
}

// AskFor returns a frame with which a guest asks for the MAC of another address:
// an ARP request, or a neighbour solicitation (RFC 4861, section 7.2.2). The
// answer goes to mac, whose IP stack renews what it knew. It is nil when ip and
// target are not of one IP version.
func AskFor(mac net.HardwareAddr, ip, target netip.Addr) []byte {
	switch {
	case ip.Is4() && target.Is4():
		return arpRequest(mac, ip, target)
	case ip.Is6() && target.Is6():
		group := solicited.As16()
		t := target.As16()
		copy(group[13:], t[13:])
		return neighbour(mac, ip, netip.AddrFrom16(group), net.HardwareAddr{0x33, 0x33, 0xff, t[13], t[14], t[15]}, 135, 0, target, 1)
	}
	return nil
}

var (
	allNodes  = netip.MustParseAddr("ff02::1")
	solicited = netip.MustParseAddr("ff02::1:ff00:0") // RFC 4291, section 2.7.1
)

func arpRequest(mac net.HardwareAddr, from, target netip.Addr) []byte {
	f := make([]byte, minFrame)
	header(f, net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, 0x0806)
	copy(f[14:], []byte{0, 1, 8, 0, 6, 4, 0, 1}) // Ethernet, IPv4, request (RFC 826)
	copy(f[22:], mac)
	copy(f[28:], from.AsSlice())
	copy(f[38:], target.AsSlice())
	return f
}

func header(f []byte, dst, src net.HardwareAddr, etherType uint16) {
	copy(f, dst)
	copy(f[6:], src)
	binary.BigEndian.PutUint16(f[12:], etherType)
}

// neighbour returns an ICMPv6 message of neighbour discovery with one option, the
// MAC of the sender.
func neighbour(mac net.HardwareAddr, from, to netip.Addr, dst net.HardwareAddr, typ byte, flags uint32, target netip.Addr, option byte) []byte {
	const size = 32 // of the ICMPv6 message, in bytes
	f := make([]byte, HeaderLen+40+size)
	header(f, dst, mac, 0x86dd)
	ip, icmp := f[HeaderLen:], f[HeaderLen+40:]
	ip[0] = 6 << 4
	binary.BigEndian.PutUint16(ip[4:], size)
	ip[6], ip[7] = 58, 255 // ICMPv6; hop limit as section 7.1 wants it
	copy(ip[8:], from.AsSlice())
	copy(ip[24:], to.AsSlice())
	icmp[0] = typ
	binary.BigEndian.PutUint32(icmp[4:], flags)
	copy(icmp[8:], target.AsSlice())
	icmp[24], icmp[25] = option, 1
	copy(icmp[26:], mac)
	binary.BigEndian.PutUint16(icmp[2:], checksum6(ip[8:40], icmp))
	return f
}

// checksum6 is the checksum of RFC 4443, section 2.3, over the pseudo-header of
// RFC 8200, section 8.1.
func checksum6(addrs, msg []byte) uint16 {
	sum := uint32(len(msg)) + 58
	for _, b := range [][]byte{addrs, msg} {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
