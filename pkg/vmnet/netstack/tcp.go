package netstack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// maxDialing bounds connections being dialled at once, a quarter of them for each
	// guest. A SYN beyond it is not answered, so that the guest tries again.
	maxDialing = 4096
	dnsPort    = 53
)

// tcpNAT carries TCP connections of guests over sockets of the host.
type tcpNAT struct {
	g         *gateway
	forwarder *tcp.Forwarder
	buffers   sync.Pool // of *[]byte, copyBuffer long
	epoch     time.Time // from which the flows count, since the machine's clock may jump

	mu       sync.Mutex // guards all following fields
	total    uint64
	guests   map[tcpip.Address]int                // how many of dialing are a guest's
	dialing  map[stack.TransportEndpointID][]byte // the SYN's headers, for an ICMP error
	perGuest map[netip.Addr]int
	count    int
	flows    map[*tcpFlow]struct{}
}

func newTCPNAT(g *gateway) *tcpNAT {
	t := &tcpNAT{
		g:        g,
		epoch:    time.Now(),
		guests:   make(map[tcpip.Address]int),
		dialing:  make(map[stack.TransportEndpointID][]byte),
		perGuest: make(map[netip.Addr]int),
		flows:    make(map[*tcpFlow]struct{}),
	}
	t.forwarder = tcp.NewForwarder(g.stack, 0, maxDialing, t.serve)
	return t
}

// handlePacket gets every TCP segment that belongs to no connection.
func (t *tcpNAT) handlePacket(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	if t.g.isGateway(toAddr(id.LocalAddress)) && id.LocalPort != dnsPort {
		t.g.count.drop(PortClosed)
		return false // the stack answers with RST
	}
	flags := header.TCP(pkt.TransportHeader().Slice()).Flags()
	if flags&(header.TCPFlagSyn|header.TCPFlagAck) != header.TCPFlagSyn {
		return false
	}
	known, ok := t.dials(id, quoteOf(pkt))
	if !ok {
		t.g.count.drop(FlowLimit)
		return true
	}
	if t.forwarder.HandlePacket(id, pkt) {
		return true
	}
	if !known {
		t.dialed(id)
	}
	return false
}

// dials notes the headers of the SYN of id, and reports whether it was known, or may
// be dialled.
func (t *tcpNAT) dials(id stack.TransportEndpointID, quote []byte) (known, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known = t.dialing[id]; known {
		return true, true
	}
	if len(t.dialing) >= maxDialing || t.guests[id.RemoteAddress] >= maxDialing/4 {
		return false, false
	}
	t.dialing[id] = quote
	t.guests[id.RemoteAddress]++
	return false, true
}

// dialed forgets the SYN of id and returns its headers.
func (t *tcpNAT) dialed(id stack.TransportEndpointID) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	quote, known := t.dialing[id]
	if !known {
		return nil
	}
	delete(t.dialing, id)
	if t.guests[id.RemoteAddress]--; t.guests[id.RemoteAddress] == 0 {
		delete(t.guests, id.RemoteAddress)
	}
	return quote
}

// serve answers one SYN. It runs on a goroutine of its own.
func (t *tcpNAT) serve(r *tcp.ForwarderRequest) {
	id := r.ID()
	if !t.g.enter() {
		r.Complete(false)
		t.dialed(id)
		return
	}
	defer t.g.wg.Done()
	guest := netip.AddrPortFrom(toAddr(id.RemoteAddress), id.RemotePort)
	dst := netip.AddrPortFrom(toAddr(id.LocalAddress), id.LocalPort)
	if t.g.isGateway(dst.Addr()) {
		t.serveDNS(r, id)
		return
	}
	if !t.acquire(guest.Addr()) {
		r.Complete(true)
		t.dialed(id)
		return
	}
	defer t.release(guest.Addr())
	conn, err := t.dial(netip.AddrPortFrom(t.g.hostAddr(dst.Addr()), dst.Port()))
	if err != nil {
		t.refuse(r, id, dst.Addr(), err)
		return
	}
	t.carry(r, id, guest.Addr(), conn)
}

func (t *tcpNAT) dial(to netip.AddrPort) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(t.g.ctx, t.g.cfg.Limits.DialTimeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, networkOf("tcp", to.Addr()), to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// carry completes the guest's handshake and moves bytes until both ends are done.
func (t *tcpNAT) carry(r *tcp.ForwarderRequest, id stack.TransportEndpointID, guest netip.Addr, conn *net.TCPConn) {
	var wq waiter.Queue
	ep, terr := r.CreateEndpoint(&wq)
	r.Complete(false)
	t.dialed(id)
	if terr != nil { // the guest gave up, or the gateway closes
		_ = conn.SetLinger(0)
		_ = conn.Close()
		return
	}
	t.g.careful(ep)
	t.splice(t.g.ctx, &tcpFlow{guest: guest, ep: ep, wq: &wq, conn: conn})
}

// splice moves bytes between the ends of f, which it takes over, until both are
// done, the flow is ended, or ctx is done before it began.
func (t *tcpNAT) splice(ctx context.Context, f *tcpFlow) {
	f.nat, f.done = t, make(chan struct{})
	f.ep.SocketOptions().SetKeepAlive(true)
	f.touch()
	t.mu.Lock()
	t.flows[f] = struct{}{}
	t.total++
	t.mu.Unlock()
	if ctx.Err() != nil { // whoever cancels ends the flows after it
		f.end()
	}
	f.run()
	t.mu.Lock()
	delete(t.flows, f)
	t.mu.Unlock()
}

// refuse tells the guest why the host's connection failed, as truly as can be.
func (t *tcpNAT) refuse(r *tcp.ForwarderRequest, id stack.TransportEndpointID, dst netip.Addr, err error) {
	reason, answer := dialError(err)
	if t.g.ctx.Err() == nil {
		t.g.count.drop(reason)
	}
	r.Complete(answer == nil)
	quote := t.dialed(id)
	if answer != nil {
		t.g.sendError(dst, *answer, quote)
	}
}

// dialError returns what to count for err and the ICMP error to send, or nil for
// a reset.
func dialError(err error) (Reason, *icmpError) {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return DialRefused, nil
	case errors.Is(err, syscall.ENETUNREACH):
		return DialUnreached, &netUnreachable
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EHOSTDOWN), errors.Is(err, syscall.ETIMEDOUT):
		return DialUnreached, &hostUnreachable
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM): // the host's firewall
		return DialUnreached, &prohibited
	case errors.As(err, &timeout) && timeout.Timeout():
		return DialUnreached, &hostUnreachable
	}
	return DialFailed, nil // out of descriptors or ports, or closing
}

// acquire takes a place for a flow and its socket, or counts that there is none.
func (t *tcpNAT) acquire(guest netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.g.cfg.Limits
	if t.count >= l.TCPTotal || t.perGuest[guest] >= l.TCPPerGuest {
		t.g.count.drop(FlowLimit)
		return false
	}
	if !t.g.cfg.sockets.Take(owner{t.g, guest}) {
		t.g.count.drop(SocketLimit)
		return false
	}
	t.count++
	t.perGuest[guest]++
	return true
}

// release gives back what acquire took; the socket is closed.
func (t *tcpNAT) release(guest netip.Addr) {
	t.g.cfg.sockets.Give(owner{t.g, guest})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count--
	if t.perGuest[guest]--; t.perGuest[guest] == 0 {
		delete(t.perGuest, guest)
	}
}

// endWhere ends the flows that which picks.
func (t *tcpNAT) endWhere(which func(*tcpFlow) bool) (n int) {
	var picked []*tcpFlow
	t.mu.Lock()
	for f := range t.flows {
		if which(f) {
			picked = append(picked, f)
		}
	}
	t.mu.Unlock()
	for _, f := range picked {
		f.end()
	}
	return len(picked)
}

func (t *tcpNAT) endAll() { t.endWhere(func(*tcpFlow) bool { return true }) }
func (t *tcpNAT) endGuest(guest netip.Addr) {
	t.endWhere(func(f *tcpFlow) bool { return f.guest == guest })
}

func (t *tcpNAT) expire(now time.Time) {
	oldest := int64(now.Sub(t.epoch) - t.g.cfg.Limits.TCPIdle)
	n := t.endWhere(func(f *tcpFlow) bool { return f.last.Load() < oldest })
	t.g.count.dropN(FlowIdle, n)
}

func (t *tcpNAT) stats() FlowStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return FlowStats{Open: len(t.flows), Total: t.total}
}
