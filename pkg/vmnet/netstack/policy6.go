package netstack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A policy6 is the part of a policy for IPv6.
type policy6 struct {
	subnet   netip.Prefix // zero: no IPv6
	gateway  netip.Addr
	link     netip.Addr // the gateway's link-local address
	loopback netip.Addr // where the host's ::1 is; zero: nowhere
	outside  bool
}

func newPolicy6(info vmnet.NetworkInfo) policy6 {
	if !info.Subnet6.IsValid() {
		return policy6{}
	}
	return policy6{
		subnet:   info.Subnet6,
		gateway:  vmnet.FirstAddr(info.Subnet6),
		link:     linkLocal(info.Name),
		loopback: info.HostLoopbackAddr6,
		outside:  info.Mode == vmnet.Shared,
	}
}

// linkLocal returns the link-local address of a network's gateway (RFC 4291,
// appendix A).
func linkLocal(network string) netip.Addr {
	return toAddr(header.LinkLocalAddr(linkAddress(vmnet.GatewayMAC(network))))
}

// check does for IPv6 what policy.check does for IPv4. What every guest sends to
// groups, router solicitations and the like, is Unheard, which is not counted.
func (p *policy6) check(b []byte, group bool) ([]byte, Reason) {
	if len(b) < header.IPv6MinimumSize || b[0]>>4 != 6 {
		return nil, Malformed
	}
	total := header.IPv6MinimumSize + int(binary.BigEndian.Uint16(b[4:6]))
	if total > len(b) {
		return nil, Malformed
	}
	b = b[:total]
	src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	proto, payload, ok := upper(b)
	if !ok {
		return nil, Malformed
	}
	if t, ok := discovery(proto, payload); ok {
		if b[6] == proto && p.discoveryForUs(t, src, payload) {
			return b, accept
		}
		return nil, Unheard
	}
	if group || dst.IsMulticast() {
		return nil, NotForwarded
	}
	if !p.guestAddr(src) {
		return nil, BadSourceIP
	}
	if p.ours(dst) {
		return b, accept
	}
	switch {
	case p.subnet.Contains(dst):
		return b, NoSuchHost
	case forbidden6(dst):
		return b, Prohibited
	case src.IsLinkLocalUnicast():
		return nil, BadSourceIP // RFC 4291, section 2.5.6: routers must not forward it
	case !p.outside:
		return b, HostOnly
	case b[7] <= 1:
		return b, TTLExceeded
	}
	return b, accept
}

// maxExtensions bounds the extension headers of a packet.
const maxExtensions = 8

// upper returns the protocol behind the extension headers and what follows, nil
// for a fragment that is not the first.
func upper(ip []byte) (proto byte, payload []byte, ok bool) {
	proto, payload = ip[6], ip[header.IPv6MinimumSize:]
	for range maxExtensions {
		length := 8
		switch header.IPv6ExtensionHeaderIdentifier(proto) {
		case header.IPv6HopByHopOptionsExtHdrIdentifier, header.IPv6RoutingExtHdrIdentifier, header.IPv6DestinationOptionsExtHdrIdentifier:
			if len(payload) < 8 {
				return 0, nil, false
			}
			length += int(payload[1]) * 8
		case header.IPv6FragmentExtHdrIdentifier:
			if len(payload) < 8 {
				return 0, nil, false
			}
			if binary.BigEndian.Uint16(payload[2:])&^7 != 0 {
				return payload[0], nil, true
			}
		default:
			return proto, payload, true
		}
		if len(payload) < length {
			return 0, nil, false
		}
		proto, payload = payload[0], payload[length:]
	}
	return 0, nil, false
}

// discovery reports whether a packet is ICMPv6 that only neighbours speak, which is
// neighbour and multicast listener discovery, and returns its type. The stack must
// not see others than policy lets through: it would answer for every address there
// is. It ignores such messages in fragments by itself (RFC 6980).
func discovery(proto byte, payload []byte) (t header.ICMPv6Type, ok bool) {
	if proto != uint8(header.ICMPv6ProtocolNumber) || payload == nil {
		return 0, false
	}
	if len(payload) == 0 {
		return 0, true
	}
	t = header.ICMPv6Type(payload[0])
	return t, t >= header.ICMPv6MulticastListenerQuery && t != header.ICMPv6EchoReply && t != header.ICMPv6EchoRequest
}

// discoveryForUs reports whether a neighbour asks for an address of the gateway,
// or tells its own. The stack checks the rest.
func (p *policy6) discoveryForUs(t header.ICMPv6Type, src netip.Addr, payload []byte) bool {
	if len(payload) < header.ICMPv6NeighborSolicitMinimumSize { // as long as an advertisement
		return false
	}
	target := netip.AddrFrom16([16]byte(payload[8:24]))
	switch t {
	case header.ICMPv6NeighborSolicit:
		// From :: when a guest wants to know whether the address is free.
		return p.ours(target) && (src.IsUnspecified() || p.guestAddr(src))
	case header.ICMPv6NeighborAdvert:
		return p.guestAddr(target) && p.guestAddr(src)
	}
	return false
}

// ours reports whether a is an address of the gateway itself.
func (p *policy6) ours(a netip.Addr) bool {
	return a == p.gateway || a == p.link || p.loopback.IsValid() && a == p.loopback
}

// guestAddr reports whether a guest may have the address a: any of the subnet but
// the routers' anycast address (RFC 4291, section 2.6.1) and the gateway's own, or
// a link-local one.
func (p *policy6) guestAddr(a netip.Addr) bool {
	if p.ours(a) {
		return false
	}
	return p.subnet.Contains(a) && a != p.subnet.Addr() || a.Is6() && a.IsLinkLocalUnicast()
}

var (
	nat64 = [...]netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48")}
	sixTo = netip.MustParsePrefix("2002::/16")
	// Where clouds have their metadata services besides 169.254.169.254: EC2 and
	// Google.
	metadata = [...]netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254")}
)

// forbidden6 reports whether a is in a block that no guest reaches through the
// host, whatever the host's routes: ::/8 with loopback and IPv4-mapped addresses,
// discard-only 100::/64 (RFC 6666), link-local and site-local, multicast, the
// metadata services of clouds, and forms of IPv4 addresses that are forbidden
// (NAT64, RFC 6052 and RFC 8215; 6to4). Unique local addresses are reached, as the
// private ones of IPv4 are.
func forbidden6(a netip.Addr) bool {
	b := a.As16()
	for _, p := range nat64 {
		if p.Contains(a) {
			return forbidden(netip.AddrFrom4([4]byte(b[12:])))
		}
	}
	if sixTo.Contains(a) {
		return forbidden(netip.AddrFrom4([4]byte(b[2:6])))
	}
	discard := b[0] == 1 && [7]byte(b[1:8]) == [7]byte{}
	return b[0] == 0 || discard || b[0] == 0xfe && b[1] >= 0x80 || b[0] == 0xff || a == metadata[0] || a == metadata[1]
}
