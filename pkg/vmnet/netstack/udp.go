package netstack

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// maxDatagram is the largest payload of UDP in bytes: that over IPv6, whose length
// does not count the IP header.
const maxDatagram = 65535 - header.UDPMinimumSize

// udpNAT carries UDP datagrams of guests over connected sockets of the host, one
// per flow: so an answer that the host refuses is known, and passed on.
type udpNAT struct {
	g       *gateway
	table   *natTable[*udpSock]
	buffers sync.Pool // of *[]byte, maxDatagram long
}

// A udpSock is the host's side of a UDP flow.
type udpSock struct {
	*net.UDPConn
	rc    syscall.RawConn
	quote []byte // headers of the flow's first datagram, for ICMP errors
}

func newUDPNAT(g *gateway) *udpNAT {
	l := g.cfg.Limits
	return &udpNAT{g: g, table: newNATTable[*udpSock](l.UDPPerGuest, l.UDPTotal, g.count, g)}
}

// handlePacket gets every datagram, reassembled, on the guest's goroutine.
func (u *udpNAT) handlePacket(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	payload, ok := udpPayload(pkt)
	if !ok {
		u.g.count.drop(Malformed)
		return true
	}
	key := flowKey{
		guest: netip.AddrPortFrom(toAddr(id.RemoteAddress), id.RemotePort),
		dst:   netip.AddrPortFrom(toAddr(id.LocalAddress), id.LocalPort),
	}
	if u.g.isGateway(key.dst.Addr()) {
		if key.dst.Port() == dnsPort {
			u.g.dns.handleUDP(key, payload)
			return true
		}
		u.g.count.drop(PortClosed)
		return false // the stack answers with ICMP port unreachable
	}
	f := u.table.get(key)
	if f == nil {
		if f = u.open(key, pkt); f == nil {
			return true
		}
	}
	err := sendNow(f.sock.rc, payload)
	if errors.Is(err, syscall.ECONNREFUSED) {
		// The error is of a datagram before; this one was not sent.
		u.passError(f, err)
		err = sendNow(f.sock.rc, payload)
	}
	if err != nil {
		u.passError(f, err)
	}
	return true
}

// udpPayload returns the payload of pkt by the UDP header's length.
func udpPayload(pkt *stack.PacketBuffer) ([]byte, bool) {
	h := header.UDP(pkt.TransportHeader().Slice())
	if len(h) < header.UDPMinimumSize {
		return nil, false
	}
	n, have := int(h.Length())-header.UDPMinimumSize, pkt.Data().Size()
	if n < 0 || n > have {
		return nil, false
	}
	if n == 0 {
		return nil, true
	}
	return pkt.Data().PullUp(n)
}

// open starts the flow of key, whose first datagram is pkt. It returns nil when
// the guest was told why not.
func (u *udpNAT) open(key flowKey, pkt *stack.PacketBuffer) *natFlow[*udpSock] {
	to := netip.AddrPortFrom(u.g.hostAddr(key.dst.Addr()), key.dst.Port())
	quote := quoteOf(pkt)
	if !u.table.reserve(key.guest.Addr()) {
		return nil
	}
	fail := func(err error) *natFlow[*udpSock] {
		u.table.unreserve(key.guest.Addr())
		reason, answer := dialError(err)
		u.g.count.drop(reason)
		if answer != nil {
			u.g.sendError(key.dst.Addr(), *answer, quote)
		}
		return nil
	}
	conn, err := net.DialUDP(networkOf("udp", to.Addr()), nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return fail(err)
	}
	rc, err := conn.SyscallConn()
	if err != nil {
		_ = conn.Close()
		return fail(err)
	}
	f := &natFlow[*udpSock]{key: key, idle: u.g.cfg.Limits.UDPIdle, sock: &udpSock{conn, rc, quote}}
	if key.dst.Port() == dnsPort {
		f.idle = u.g.cfg.Limits.UDPIdleDNS
	}
	if !u.table.add(f) {
		_ = conn.Close()
		u.table.unreserve(key.guest.Addr())
		return u.table.get(key)
	}
	if !u.g.start(func() { u.receive(f) }) {
		u.table.remove(f)
		return nil
	}
	return f
}

// receive passes on what the host's peer sends, until the socket is closed.
func (u *udpNAT) receive(f *natFlow[*udpSock]) {
	defer u.table.remove(f)
	route := u.g.route(f.key.dst.Addr(), f.key.guest.Addr())
	if route == nil {
		return
	}
	defer route.Release()
	var buf *[]byte
	get := func() []byte { buf = u.buffer(); return *buf }
	put := func() { u.buffers.Put(buf) }
	for {
		n, err := readReady(f.sock.rc, get, put)
		if err != nil {
			if u.passError(f, err) {
				continue
			}
			return
		}
		f.touch()
		u.g.sendUDP(route, f.key.dst.Port(), f.key.guest.Port(), (*buf)[:n])
		put()
	}
}

// passError tells the guest of an error on the host's socket. It reports whether
// the socket is still good.
func (u *udpNAT) passError(f *natFlow[*udpSock], err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOBUFS) {
		u.g.count.drop(HostQueueFull)
		return true
	}
	reason, answer := dialError(err)
	u.g.count.drop(reason)
	if reason == DialRefused {
		answer = &portUnreachable
	}
	if answer != nil {
		u.g.sendError(f.key.dst.Addr(), *answer, f.sock.quote)
	}
	// EMSGSIZE and the like concern one datagram only; a broken socket says so
	// again and is closed when idle.
	return reason != DialFailed || errors.Is(err, syscall.EMSGSIZE)
}

// sendUDP sends one datagram to a guest; the stack cuts it into fragments where
// it is longer than the MTU.
func (g *gateway) sendUDP(route *stack.Route, srcPort, dstPort uint16, payload []byte) {
	length := header.UDPMinimumSize + len(payload)
	if length > header.UDPMinimumSize+maxDatagram {
		return // cannot be: no socket gives so much
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(route.MaxHeaderLength()) + header.UDPMinimumSize,
		Payload:            buffer.MakeWithData(payload),
	})
	defer pkt.DecRef()
	h := header.UDP(pkt.TransportHeader().Push(header.UDPMinimumSize))
	pkt.TransportProtocolNumber = header.UDPProtocolNumber
	h.Encode(&header.UDPFields{SrcPort: srcPort, DstPort: dstPort, Length: uint16(length)})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, route.LocalAddress(), route.RemoteAddress(), uint16(length))
	sum = h.CalculateChecksum(checksum.Combine(sum, pkt.Data().Checksum()))
	if sum != 0xffff { // zero would mean "none" (RFC 768)
		sum = ^sum
	}
	h.SetChecksum(sum)
	// A datagram that cannot be sent is lost, as datagrams are.
	_ = route.WritePacket(stack.NetworkHeaderParams{Protocol: header.UDPProtocolNumber, TTL: defaultTTL}, pkt)
}

func (u *udpNAT) buffer() *[]byte {
	if b, ok := u.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, maxDatagram+1)
	return &b
}
