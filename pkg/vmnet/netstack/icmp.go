package netstack

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// defaultTTL is the time to live of what the gateway sends (RFC 1700).
const defaultTTL = 64

// An icmpError is the type and code of an ICMP error.
type icmpError struct {
	typ  header.ICMPv4Type
	code header.ICMPv4Code
}

var (
	netUnreachable  = icmpError{header.ICMPv4DstUnreachable, header.ICMPv4NetUnreachable}
	hostUnreachable = icmpError{header.ICMPv4DstUnreachable, header.ICMPv4HostUnreachable}
	portUnreachable = icmpError{header.ICMPv4DstUnreachable, header.ICMPv4PortUnreachable}
	prohibited      = icmpError{header.ICMPv4DstUnreachable, header.ICMPv4AdminProhibited}
	ttlExceeded     = icmpError{header.ICMPv4TimeExceeded, header.ICMPv4TTLExceeded}
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
	g.sendError(g.info.Gateway, e, ip)
}

// sendError sends an ICMP error about the guest's IPv4 packet ip, or the
// beginning of one, from the address from. It sends none where RFC 1122, 3.2.2
// and RFC 1812, 4.3.2.7 forbid: about ICMP errors and later fragments. The stack
// limits the rate.
func (g *gateway) sendError(from netip.Addr, e icmpError, ip []byte) {
	h := header.IPv4(ip)
	if len(ip) < header.IPv4MinimumSize || len(ip) < int(h.HeaderLength())+8 || h.FragmentOffset() != 0 {
		return
	}
	if h.TransportProtocol() == header.ICMPv4ProtocolNumber {
		t := header.ICMPv4(ip[h.HeaderLength():]).Type()
		if t != header.ICMPv4Echo && t != header.ICMPv4EchoReply {
			return
		}
	}
	if !g.stack.AllowICMPMessage() {
		return
	}
	route, err := g.stack.FindRoute(nicID, fromAddr(from), h.SourceAddress(), ipv4.ProtocolNumber, false)
	if err != nil {
		return // the guest is not on the subnet: nobody to tell
	}
	defer route.Release()
	quote := ip[:min(len(ip), maxQuote)]
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(route.MaxHeaderLength()) + header.ICMPv4MinimumSize,
		Payload:            buffer.MakeWithData(quote),
	})
	defer pkt.DecRef()
	m := header.ICMPv4(pkt.TransportHeader().Push(header.ICMPv4MinimumSize))
	m.SetType(e.typ)
	m.SetCode(e.code)
	m.SetChecksum(header.ICMPv4Checksum(m, pkt.Data().Checksum()))
	pkt.TransportProtocolNumber = header.ICMPv4ProtocolNumber
	// A dropped error is no error: ICMP promises nothing.
	_ = route.WritePacket(stack.NetworkHeaderParams{Protocol: header.ICMPv4ProtocolNumber, TTL: defaultTTL}, pkt)
}

// maxQuote is how much of a packet an error quotes: the largest IPv4 header and
// far into that of TCP. RFC 1812, 4.3.2.3 allows more, but nobody needs it.
const maxQuote = 128

// quoteOf returns the beginning of pkt, from the IPv4 header on, to be quoted in
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
