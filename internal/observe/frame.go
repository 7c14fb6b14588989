package observe

import (
	"encoding/binary"
	"net/netip"
)

// fromARP returns the sender's address of an ARP packet for IPv4 on Ethernet. A
// probe (RFC 5227) has none.
func fromARP(f []byte) (netip.Addr, bool) {
	if [6]byte(f[14:20]) != [6]byte{0, 1, 8, 0, 6, 4} || [6]byte(f[22:28]) != [6]byte(f[6:12]) {
		return netip.Addr{}, false
	}
	a := netip.AddrFrom4([4]byte(f[28:32]))
	return a, !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback()
}

// fromND returns the address that a guest claims: the target of its advertisement,
// the source of its solicitation, and what it looks for a double of (RFC 4862,
// section 5.4), which it has a second later unless somebody else has it.
func fromND(f []byte) (netip.Addr, bool) {
	const ip, icmp = 14, 54
	if len(f) < icmp+24 || f[ip+6] != 58 || f[ip+7] != 255 {
		return netip.Addr{}, false
	}
	a := netip.AddrFrom16([16]byte(f[ip+8 : ip+24]))
	switch target := netip.AddrFrom16([16]byte(f[icmp+8 : icmp+24])); {
	case f[icmp] == 136, f[icmp] == 135 && a.IsUnspecified():
		a = target
	case f[icmp] != 135:
		return netip.Addr{}, false
	}
	return a, !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.Is4In6()
}

// Offsets of a DHCP message (RFC 2131, section 2).
const (
	dhcpOptions = 240
	dhcpCookie  = 0x63825363
)

// dhcpRequest returns the message of a frame from a DHCP client to a server.
func dhcpRequest(f []byte) ([]byte, bool) {
	const ip = 14
	head := int(f[ip]&15) * 4
	if f[ip]>>4 != 4 || f[ip+9] != 17 || head < 20 || len(f) < ip+head+8+dhcpOptions {
		return nil, false
	}
	udp := f[ip+head:]
	if binary.BigEndian.Uint16(udp[2:]) != 67 || binary.BigEndian.Uint16(f[ip+6:])&0x3fff != 0 {
		return nil, false
	}
	msg := udp[8:]
	return msg, msg[0] == 1 && binary.BigEndian.Uint32(msg[dhcpOptions-4:]) == dhcpCookie
}

// option returns an option of a message, or nil.
func option(msg []byte, code byte) []byte {
	for o := msg[dhcpOptions:]; len(o) > 1 && o[0] != 255; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		n := int(o[1])
		if len(o) < 2+n {
			return nil
		}
		if o[0] == code {
			return o[2 : 2+n]
		}
		o = o[2+n:]
	}
	return nil
}
