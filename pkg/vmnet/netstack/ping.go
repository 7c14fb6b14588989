package netstack

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/net/icmp"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// pingNAT carries echo requests of guests over unprivileged ICMP sockets of the
// host (SOCK_DGRAM with IPPROTO_ICMP), one per guest, destination and identifier.
type pingNAT struct {
	g     *gateway
	table *natTable[*icmp.PacketConn]
}

func newPingNAT(g *gateway) *pingNAT {
	l := g.cfg.Limits
	return &pingNAT{g: g, table: newNATTable[*icmp.PacketConn](l.PingPerGuest, l.PingTotal, g.count)}
}

// handlePacket gets every ICMP message, reassembled. Those to the gateway's own
// addresses the stack answers itself; for others it leaves all to this handler.
func (p *pingNAT) handlePacket(_ stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	h := header.ICMPv4(pkt.TransportHeader().Slice())
	ip := header.IPv4(pkt.NetworkHeader().Slice())
	dst := toAddr(ip.DestinationAddress())
	if p.g.policy.ours(dst) {
		return false
	}
	if len(h) < header.ICMPv4MinimumSize || h.Type() != header.ICMPv4Echo {
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
	setICMPChecksum(msg) // Linux wants it right, and sets the identifier itself
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
	conn, err := icmp.ListenPacket("udp4", "0.0.0.0")
	if err != nil {
		p.g.count.drop(NoPing)
		p.g.sendError(p.g.info.Gateway, prohibited, quoteOf(pkt))
		return nil
	}
	f := &natFlow[*icmp.PacketConn]{key: key, idle: p.g.cfg.Limits.PingIdle, sock: conn}
	if !p.table.add(f) {
		_ = conn.Close()
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
func isReply(msg []byte, ident uint16) bool {
	if len(msg) < header.ICMPv4MinimumSize || msg[0] != byte(header.ICMPv4EchoReply) {
		return false
	}
	return runtime.GOOS == "linux" || header.ICMPv4(msg).Ident() == ident
}

// receive passes echo replies on, with the guest's identifier.
func (p *pingNAT) receive(f *natFlow[*icmp.PacketConn]) {
	defer p.table.remove(f)
	route, terr := p.g.stack.FindRoute(nicID, fromAddr(f.key.dst.Addr()), fromAddr(f.key.guest.Addr()), ipv4.ProtocolNumber, false)
	if terr != nil {
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
		if !fromHost(from, f.key.dst.Addr()) || !isReply(msg, f.key.guest.Port()) {
			continue
		}
		f.touch()
		header.ICMPv4(msg).SetIdent(f.key.guest.Port())
		setICMPChecksum(msg)
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
	copy(pkt.TransportHeader().Push(header.ICMPv4MinimumSize), msg)
	pkt.TransportProtocolNumber = header.ICMPv4ProtocolNumber
	// A reply that cannot be sent is lost, as datagrams are.
	_ = route.WritePacket(stack.NetworkHeaderParams{Protocol: header.ICMPv4ProtocolNumber, TTL: defaultTTL}, pkt)
}

func setICMPChecksum(msg []byte) {
	h := header.ICMPv4(msg)
	h.SetChecksum(0)
	h.SetChecksum(^checksum.Checksum(msg, 0))
}
