package netstack

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// defaultTTL is the time to live of what the gateway sends (RFC 1700).
const defaultTTL = 64

// An icmpError is the type and code of an ICMP error, in both versions.
type icmpError struct {
	typ   header.ICMPv4Type
	code  header.ICMPv4Code
	typ6  header.ICMPv6Type
	code6 header.ICMPv6Code
}

var (
	netUnreachable  = icmpError{header.ICMPv4DstUnreachable, header.ICMPv4NetUnreachable, header.ICMPv6DstUnreachable, header.ICMPv6NetworkUnreachable}
	hostUnreachable = icmpError{header.ICMPv4DstUnreachable, header.ICMPv4HostUnreachable, header.ICMPv6DstUnreachable, header.ICMPv6AddressUnreachable}
	portUnreachable = icmpError{header.ICMPv4DstUnreachable, header.ICMPv4PortUnreachable, header.ICMPv6DstUnreachable, header.ICMPv6PortUnreachable}
	prohibited      = icmpError{header.ICMPv4DstUnreachable, header.ICMPv4AdminProhibited, header.ICMPv6DstUnreachable, header.ICMPv6Prohibited}
	ttlExceeded     = icmpError{header.ICMPv4TimeExceeded, header.ICMPv4TTLExceeded, header.ICMPv6TimeExceeded, header.ICMPv6HopLimitExceeded}
)

// refusePacket answers a packet that policy refused, if its sender is to know.
func (g *gateway) refusePacket(r Reason, ip []byte) {
	var e icmpError
	switch r {
	case NoSuchHost:
		e = hostUnreachable
	case Prohibited:
		e = prohibited
	case HostOnly:
		e = netUnreachable
	case TTLExceeded:
		e = ttlExceeded
	default:
		return
	}
	from := g.info.Gateway
	if ip[0]>>4 == 6 {
		from = g.policy.six.gateway
	}
	g.sendError(from, e, ip)
}

// sendError sends an ICMP error about the guest's IP packet ip, or the beginning
// of one, from the address from. It sends none where RFC 1122, 3.2.2, RFC 1812,
// 4.3.2.7 and RFC 4443, 2.4 forbid: about ICMP errors and later fragments. The
// stack limits the rate.
func (g *gateway) sendError(from netip.Addr, e icmpError, ip []byte) {
	guest, ok := mayComplain(ip)
	if !ok || !g.stack.AllowICMPMessage() {
		return
	}
	route := g.route(from, guest)
	if route == nil {
		return // the guest is not on the subnet: nobody to tell
	}
	defer route.Release()
	quote := ip[:min(len(ip), maxQuote)]
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(route.MaxHeaderLength()) + header.ICMPv6ErrorHeaderSize,
		Payload:            buffer.MakeWithData(quote),
	})
	defer pkt.DecRef()
	proto := e.write(pkt, route)
	pkt.TransportProtocolNumber = proto
	// A dropped error is no error: ICMP promises nothing.
	_ = route.WritePacket(stack.NetworkHeaderParams{Protocol: proto, TTL: defaultTTL}, pkt)
}

// write puts the error's header before its quotation in pkt.
func (e icmpError) write(pkt *stack.PacketBuffer, route *stack.Route) tcpip.TransportProtocolNumber {
	if route.NetProto() == header.IPv4ProtocolNumber {
		m := header.ICMPv4(pkt.TransportHeader().Push(header.ICMPv4MinimumSize))
		m.SetType(e.typ)
		m.SetCode(e.code)
		m.SetChecksum(header.ICMPv4Checksum(m, pkt.Data().Checksum()))
		return header.ICMPv4ProtocolNumber
	}
	m := header.ICMPv6(pkt.TransportHeader().Push(header.ICMPv6ErrorHeaderSize))
	m.SetType(e.typ6)
	m.SetCode(e.code6)
	m.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{
		Header: m, Src: route.LocalAddress(), Dst: route.RemoteAddress(),
		PayloadCsum: pkt.Data().Checksum(), PayloadLen: pkt.Data().Size(),
	}))
	return header.ICMPv6ProtocolNumber
}

// mayComplain reports whether an error may be sent about the packet, and returns
// who is told.
func mayComplain(ip []byte) (guest netip.Addr, ok bool) {
	if len(ip) > 0 && ip[0]>>4 == 6 {
		return mayComplain6(ip)
	}
	h := header.IPv4(ip)
	if len(ip) < header.IPv4MinimumSize || len(ip) < int(h.HeaderLength())+8 || h.FragmentOffset() != 0 {
		return guest, false
	}
	if h.TransportProtocol() == header.ICMPv4ProtocolNumber {
		t := header.ICMPv4(ip[h.HeaderLength():]).Type()
		if t != header.ICMPv4Echo && t != header.ICMPv4EchoReply {
			return guest, false
		}
	}
	return toAddr(h.SourceAddress()), true
}

func mayComplain6(ip []byte) (guest netip.Addr, ok bool) {
	if len(ip) < header.IPv6MinimumSize {
		return guest, false
	}
	proto, payload, ok := upper(ip)
	if !ok || payload == nil {
		return guest, false
	}
	if proto == uint8(header.ICMPv6ProtocolNumber) {
		if len(payload) == 0 || payload[0] != uint8(header.ICMPv6EchoRequest) && payload[0] != uint8(header.ICMPv6EchoReply) {
			return guest, false
		}
	}
	return toAddr(header.IPv6(ip).SourceAddress()), true
}

// maxQuote is how much of a packet an error quotes: the largest IP header and
// far into that of TCP. RFC 1812, 4.3.2.3 allows more, but nobody needs it.
const maxQuote = 128

// quoteOf returns the beginning of pkt, from the IP header on, to be quoted in
// an error later.
func quoteOf(pkt *stack.PacketBuffer) []byte {
	q := append([]byte(nil), pkt.NetworkHeader().Slice()...)
	q = append(q, pkt.TransportHeader().Slice()...)
	if n := min(pkt.Data().Size(), 8); n > 0 {
		if b, ok := pkt.Data().PullUp(n); ok {
			q = append(q, b...)
		}
	}
	return q
}
