package netstack

import (
	"errors"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

// A udpForward is a UDP rule at work: for each of the host's peers, a port of the
// gateway towards the guest.
type udpForward struct {
	f     *forward
	conn  *net.UDPConn
	table *natTable[*gonet.UDPConn]
}

func (f *forward) listenUDP() error {
	network, address := f.hostNetwork("udp")
	var lc net.ListenConfig
	c := inheritedUDP(f.left, f.rule.External.Port())
	if c == nil {
		var err error
		if c, err = lc.ListenPacket(f.ctx, network, address); err != nil {
			return err
		}
	}
	f.keepFile(c.(*net.UDPConn))
	l := f.g.cfg.Limits
	f.socket = c
	f.udp = &udpForward{f: f, conn: c.(*net.UDPConn), table: newNATTable[*gonet.UDPConn](l.UDPPerGuest, l.UDPPerGuest, f.g.count, nil)}
	f.wg.Go(f.udp.fromHost)
	return nil
}

// fromHost passes datagrams of the host's peers to the guest, until the socket
// is closed.
func (u *udpForward) fromHost() {
	buf := u.f.g.udp.buffer()
	defer u.f.g.udp.buffers.Put(buf)
	for {
		n, from, err := u.conn.ReadFromUDPAddrPort(*buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // about a datagram sent before; nothing to tell the guest
		}
		flow := u.flow(from)
		if flow == nil {
			continue
		}
		if _, err := flow.sock.Write((*buf)[:n]); err != nil {
			u.table.remove(flow) // the guest refused; the next datagram tries again
		}
	}
}

// flow returns the flow of a peer, a new one if there is none.
func (u *udpForward) flow(peer netip.AddrPort) *natFlow[*gonet.UDPConn] {
	key := flowKey{guest: peer, dst: u.f.rule.Internal}
	if flow := u.table.get(key); flow != nil {
		return flow
	}
	g := u.f.g
	local := tcpip.FullAddress{NIC: nicID, Addr: fromAddr(g.gatewayFor(key.dst.Addr()))}
	remote := tcpip.FullAddress{NIC: nicID, Addr: fromAddr(key.dst.Addr()), Port: key.dst.Port()}
	c, err := gonet.DialUDP(g.stack, &local, &remote, protocolOf(key.dst.Addr()))
	if err != nil {
		g.count.drop(DialFailed)
		return nil
	}
	flow := &natFlow[*gonet.UDPConn]{key: key, idle: g.cfg.Limits.UDPIdle, sock: c}
	if !u.table.add(flow) {
		_ = c.Close()
		return nil
	}
	u.f.wg.Go(func() { u.fromGuest(flow) })
	return flow
}

// fromGuest passes the guest's answers to the peer, until the flow ends.
func (u *udpForward) fromGuest(flow *natFlow[*gonet.UDPConn]) {
	defer u.table.remove(flow)
	buf := u.f.g.udp.buffer()
	defer u.f.g.udp.buffers.Put(buf)
	for {
		n, err := flow.sock.Read(*buf)
		if err != nil {
			return // closed, or the guest's port is
		}
		flow.touch()
		if _, err := u.conn.WriteToUDPAddrPort((*buf)[:n], flow.key.guest); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
