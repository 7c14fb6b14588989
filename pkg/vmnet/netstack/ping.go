package netstack

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/net/icmp"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A pingFamily is how echo looks in one IP version.
type pingFamily struct {
	network, any   string // for icmp.ListenPacket
	proto          tcpip.TransportProtocolNumber
	request, reply byte
}

var (
	pingOver4 = pingFamily{"udp4", "0.0.0.0", header.ICMPv4ProtocolNumber, byte(header.ICMPv4Echo), byte(header.ICMPv4EchoReply)}
	pingOver6 = pingFamily{"udp6", "::", header.ICMPv6ProtocolNumber, byte(header.ICMPv6EchoRequest), byte(header.ICMPv6EchoReply)}
)

// pingNAT carries echo requests of guests over unprivileged ICMP sockets of the
// host (SOCK_DGRAM with IPPROTO_ICMP or IPPROTO_ICMPV6), one per guest, destination
// and identifier. Its headers are those of ICMPv4, as far as echo goes: the same
// fields are at the same places.
type pingNAT struct {
	g      *gateway
	family pingFamily
	table  *natTable[*icmp.PacketConn]
}

func newPingNAT(g *gateway, f pingFamily) *pingNAT {
	l := g.cfg.Limits
	return &pingNAT{g: g, family: f, table: newNATTable[*icmp.PacketConn](l.PingPerGuest, l.PingTotal, g.count, g)}
}

// handlePacket gets every ICMP message of the version, reassembled. Those to the gateway's own
// addresses the stack answers itself; for others it leaves all to this handler.
func (p *pingNAT) handlePacket(_ stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	h := header.ICMPv4(pkt.TransportHeader().Slice())
	ip := pkt.Network()
	dst := toAddr(ip.DestinationAddress())
	if p.g.policy.ours(dst) || p.g.policy.six.ours(dst) {
		return false
	}
	if len(h) < header.ICMPv4MinimumSize || h[0] != p.family.request {
		return true // errors about flows of ours have no use for the host
	}
	key := flowKey{
		guest: netip.AddrPortFrom(toAddr(ip.SourceAddress()), h.Ident()),
		dst:   netip.AddrPortFrom(dst, 0),
	}
	f := p.table.get(key)
	if f == nil {
		if f = p.open(key, pkt); f == nil {
			return true
		}
	}
	msg := append([]byte(nil), h...)
	if n := pkt.Data().Size(); n > 0 {
		if data, ok := pkt.Data().PullUp(n); ok {
			msg = append(msg, data...)
		}
	}
	setICMPChecksum(msg) // Linux wants it right for IPv4, and sets the identifier itself
	if _, err := f.sock.WriteTo(msg, &net.UDPAddr{IP: dst.AsSlice()}); err != nil {
		reason, answer := dialError(err)
		p.g.count.drop(reason)
		if answer != nil {
			p.g.sendError(dst, *answer, quoteOf(pkt))
		}
	}
	return true
}

// open starts an echo flow, or tells the guest that the host cannot.
func (p *pingNAT) open(key flowKey, pkt *stack.PacketBuffer) *natFlow[*icmp.PacketConn] {
	if !p.table.reserve(key.guest.Addr()) {
		return nil
	}
	conn, err := icmp.ListenPacket(p.family.network, p.family.any)
	if err != nil {
		p.table.unreserve(key.guest.Addr())
		p.g.count.drop(NoPing)
		p.g.sendError(p.g.gatewayFor(key.guest.Addr()), prohibited, quoteOf(pkt))
		return nil
	}
	f := &natFlow[*icmp.PacketConn]{key: key, idle: p.g.cfg.Limits.PingIdle, sock: conn}
	if !p.table.add(f) {
		_ = conn.Close()
		p.table.unreserve(key.guest.Addr())
		return p.table.get(key)
	}
	if !p.g.start(func() { p.receive(f) }) {
		p.table.remove(f)
		return nil
	}
	return f
}

// isReply reports whether msg answers a request of a flow with the guest's
// identifier ident. Linux gives a socket an identifier of its own, and no other
// replies; other systems leave it as the guest made it.
func (f pingFamily) isReply(msg []byte, ident uint16) bool {
	if len(msg) < header.ICMPv4MinimumSize || msg[0] != f.reply {
		return false
	}
	return runtime.GOOS == "linux" || header.ICMPv4(msg).Ident() == ident
}

// receive passes echo replies on, with the guest's identifier.
func (p *pingNAT) receive(f *natFlow[*icmp.PacketConn]) {
	defer p.table.remove(f)
	route := p.g.route(f.key.dst.Addr(), f.key.guest.Addr())
	if route == nil {
		return
	}
	defer route.Release()
	buf := p.g.udp.buffer()
	defer p.g.udp.buffers.Put(buf)
	for {
		n, from, err := f.sock.ReadFrom(*buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if _, answer := dialError(err); answer == nil {
				return // not a word about the network: the socket is broken
			}
			time.Sleep(time.Millisecond) // bounds a socket that only gives errors
			continue
		}
		msg := (*buf)[:n]
		if !fromHost(from, f.key.dst.Addr()) || !p.family.isReply(msg, f.key.guest.Port()) {
			continue
		}
		f.touch()
		header.ICMPv4(msg).SetIdent(f.key.guest.Port())
		p.send(route, msg)
	}
}

// fromHost reports whether from is the address a.
func fromHost(from net.Addr, a netip.Addr) bool {
	u, ok := from.(*net.UDPAddr)
	return ok && u.AddrPort().Addr().Unmap() == a
}

func (p *pingNAT) send(route *stack.Route, msg []byte) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(route.MaxHeaderLength()) + header.ICMPv4MinimumSize,
		Payload:            buffer.MakeWithData(msg[header.ICMPv4MinimumSize:]),
	})
	defer pkt.DecRef()
	h := header.ICMPv4(pkt.TransportHeader().Push(header.ICMPv4MinimumSize))
	copy(h, msg)
	h.SetChecksum(0)
	sum := pkt.Data().Checksum()
	if p.family.proto == header.ICMPv6ProtocolNumber {
		sum = checksum.Combine(sum, header.PseudoHeaderChecksum(p.family.proto, route.LocalAddress(), route.RemoteAddress(), uint16(len(msg))))
	}
	h.SetChecksum(^checksum.Checksum(h, sum))
	pkt.TransportProtocolNumber = p.family.proto
	// A reply that cannot be sent is lost, as datagrams are.
	_ = route.WritePacket(stack.NetworkHeaderParams{Protocol: p.family.proto, TTL: defaultTTL}, pkt)
}

func setICMPChecksum(msg []byte) {
	h := header.ICMPv4(msg)
	h.SetChecksum(0)
	h.SetChecksum(^checksum.Checksum(msg, 0))
}
