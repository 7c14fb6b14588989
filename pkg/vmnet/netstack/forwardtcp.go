package netstack

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// hostNetwork returns the network to listen on for a rule: a rule without an
// address takes the port on all of the host's, IPv6 included.
func (f *forward) hostNetwork(base string) (network, address string) {
	e := f.rule.External
	if !e.Addr().IsValid() {
		return base, ":" + strconv.Itoa(int(e.Port()))
	}
	return networkOf(base, e.Addr()), e.String()
}

func (f *forward) listenTCP() error {
	network, address := f.hostNetwork("tcp")
	var lc net.ListenConfig
	l := inheritedTCP(f.left, f.rule.External.Port())
	if l == nil {
		var err error
		if l, err = lc.Listen(f.ctx, network, address); err != nil {
			return err
		}
	}
	f.socket = l
	f.keepFile(l.(*net.TCPListener))
	f.wg.Go(func() { f.accept(l) })
	return nil
}

// accept serves the rule's connections until its listener is closed.
func (f *forward) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, most likely: wait until some are free again.
			f.g.count.drop(DialFailed)
			select {
			case <-f.ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		f.wg.Go(func() { f.serve(c.(*net.TCPConn)) })
	}
}

// serve carries one connection of the host to the guest. One that the guest does
// not take is reset.
func (f *forward) serve(conn *net.TCPConn) {
	guest := f.rule.Internal.Addr()
	t := f.g.tcp
	if !t.acquire(guest) {
		reset(conn)
		return
	}
	defer t.release(guest)
	var wq waiter.Queue
	ep, err := f.dialGuest(&wq)
	if err != nil {
		f.g.count.drop(DialRefused)
		reset(conn)
		return
	}
	t.splice(f.ctx, &tcpFlow{guest: guest, ep: ep, wq: &wq, conn: conn, via: f})
}

func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // makes Close send RST
	_ = conn.Close()
}

// dialGuest connects from the gateway to the guest.
func (f *forward) dialGuest(wq *waiter.Queue) (tcpip.Endpoint, error) {
	ctx, cancel := context.WithTimeout(f.ctx, f.g.cfg.Limits.DialTimeout)
	defer cancel()
	ep, terr := f.g.stack.NewEndpoint(tcp.ProtocolNumber, protocolOf(f.rule.Internal.Addr()), wq)
	if terr != nil {
		return nil, errors.New(terr.String())
	}
	f.g.careful(ep)
	entry, connected := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	if terr = ep.Bind(tcpip.FullAddress{NIC: nicID, Addr: fromAddr(f.g.gatewayFor(f.rule.Internal.Addr()))}); terr == nil {
		terr = ep.Connect(tcpip.FullAddress{NIC: nicID, Addr: fromAddr(f.rule.Internal.Addr()), Port: f.rule.Internal.Port()})
	}
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-connected:
			terr = ep.LastError()
		case <-ctx.Done():
			ep.Abort()
			return nil, ctx.Err()
		}
	}
	if terr != nil {
		ep.Abort()
		return nil, errors.New(terr.String())
	}
	return ep, nil
}
