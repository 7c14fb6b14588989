package netstack

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// nicID is the only interface of a gateway's stack.
const nicID tcpip.NICID = 1

// A gateway is the router, DNS server and address translator of a network.
type gateway struct {
	cfg    Config
	info   vmnet.NetworkInfo
	policy policy
	count  *counters
	link   *endpoint
	stack  *stack.Stack

	tcp   *tcpNAT
	udp   *udpNAT
	ping  *pingNAT
	ping6 *pingNAT
	dns   *dnsServer

	ctx    context.Context // done when the gateway closes
	cancel context.CancelFunc

	limited atomic.Int32 // guests whose frames are dropped above a rate

	mu     sync.Mutex // guards closed, and wg's Add against its Wait
	closed bool
	wg     sync.WaitGroup
}

func newGateway(cfg Config, info vmnet.NetworkInfo, s *fabric, c *counters) (*gateway, error) {
	g := &gateway{cfg: cfg, info: info, policy: newPolicy(info), count: c}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	mac := vmnet.GatewayMAC(info.Name)
	g.link = &endpoint{
		mtu: uint32(info.MTU), whole: info.Offload, mac: tcpip.LinkAddress(mac), fabric: s,
		policy: g.policy, count: c, refuse: g.refusePacket,
	}
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	if err := g.setUp(); err != nil {
		g.stack.Destroy()
		g.cancel()
		return nil, err
	}
	g.dns = newDNSServer(g)
	g.tcp, g.udp = newTCPNAT(g), newUDPNAT(g)
	g.ping, g.ping6 = newPingNAT(g, pingOver4), newPingNAT(g, pingOver6)
	g.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, g.tcp.handlePacket)
	g.stack.SetTransportProtocolHandler(udp.ProtocolNumber, g.udp.handlePacket)
	g.stack.SetTransportProtocolHandler(icmp.ProtocolNumber4, g.ping.handlePacket)
	g.stack.SetTransportProtocolHandler(icmp.ProtocolNumber6, g.ping6.handlePacket)
	s.gateway, s.gatewayMAC = g.link, keyOf(mac)
	return g, nil
}

// setUp gives the stack its interface, addresses, route and tuning.
func (g *gateway) setUp() error {
	s := g.stack
	if err := tune(s); err != nil {
		return err
	}
	if err := s.CreateNIC(nicID, g.link); err != nil {
		return fmt.Errorf("gateway interface: %s", err)
	}
	for _, a := range g.addrs() {
		pa := tcpip.ProtocolAddress{
			Protocol:          protocolOf(a.Addr()),
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: fromAddr(a.Addr()), PrefixLen: a.Bits()},
		}
		if err := s.AddProtocolAddress(nicID, pa, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("gateway address %s: %s", a, err)
		}
	}
	// Packets for any address end here, and answers leave with that address. What
	// gets that far is decided by policy.
	if err := s.SetPromiscuousMode(nicID, true); err != nil {
		return fmt.Errorf("gateway promiscuous mode: %s", err)
	}
	if err := s.SetSpoofing(nicID, true); err != nil {
		return fmt.Errorf("gateway spoofing: %s", err)
	}
	var routes []tcpip.Route
	for _, p := range []netip.Prefix{g.info.Subnet, g.info.Subnet6, linkLocal6} {
		if p.IsValid() {
			subnet := tcpip.AddressWithPrefix{Address: fromAddr(p.Addr()), PrefixLen: p.Bits()}.Subnet()
			routes = append(routes, tcpip.Route{Destination: subnet, NIC: nicID})
		}
	}
	s.SetRouteTable(routes)
	return nil
}

var linkLocal6 = netip.MustParsePrefix("fe80::/64")

// addrs are the gateway's own addresses.
func (g *gateway) addrs() (list []netip.Prefix) {
	six := g.policy.six
	for _, a := range []netip.Prefix{
		netip.PrefixFrom(g.info.Gateway, g.info.Subnet.Bits()), netip.PrefixFrom(g.info.HostLoopbackAddr, 32),
		netip.PrefixFrom(six.gateway, 64), netip.PrefixFrom(six.link, 64), netip.PrefixFrom(six.loopback, 128),
	} {
		if a.IsValid() {
			list = append(list, a)
		}
	}
	return list
}

// Buffers of the stack's TCP endpoints in bytes. They grow from the default to
// the maximum with the connection's bandwidth. What a single connection may have
// in flight to a guest fits the guest's queue at MTU 1500, 2048 frames: so it
// loses none.
const (
	bufMin     = 4 << 10
	bufDefault = 1 << 20
	sendMax    = 2 << 20
	receiveMax = 4 << 20
)

// Congestion controls: for guests that take what comes, and for those whose frames
// are dropped above a rate.
const (
	ccFast    = "reno"
	ccCareful = "cubic"
)

// careful makes a new flow leave slow start before it overruns a limit, if a guest
// of the network has one: without HyStart as many frames were lost at an 8 Mbit/s
// limit as passed.
func (g *gateway) careful(ep tcpip.Endpoint) {
	if g.limited.Load() > 0 {
		cc := tcpip.CongestionControlOption(ccCareful)
		_ = ep.SetSockOpt(&cc) // it can only be slower
	}
}

// tune sets what TCP does. The round trip is microseconds long and a frame is
// lost only when the guest's queue is full.
func tune(s *stack.Stack) error {
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	rcv := tcpip.TCPReceiveBufferSizeRangeOption{Min: bufMin, Default: bufDefault, Max: receiveMax}
	snd := tcpip.TCPSendBufferSizeRangeOption{Min: bufMin, Default: bufDefault, Max: sendMax}
	// Cubic's HyStart takes a round trip that a busy machine made longer for a queue
	// that fills, leaves slow start, and needs seconds to grow again. On a wire of
	// memory no queue fills before the send buffer does; see careful.
	cc := tcpip.CongestionControlOption(ccFast)
	// The 4-tuple may be used again soon: no old duplicates are on a wire of
	// memory, so the two minutes of RFC 9293 would only hold memory.
	wait := tcpip.TCPTimeWaitTimeoutOption(5 * time.Second)
	for _, opt := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &rcv, &snd, &cc, &wait} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, opt); err != nil {
			return fmt.Errorf("gateway TCP option %T: %s", opt, err)
		}
	}
	return nil
}

// start runs fn on a goroutine that close waits for. It reports false, and does
// not, when the gateway is closing.
func (g *gateway) start(fn func()) bool {
	if !g.enter() {
		return false
	}
	go func() {
		defer g.wg.Done()
		fn()
	}()
	return true
}

// enter counts the caller's goroutine as one that close waits for, until it
// calls g.wg.Done. It reports false when the gateway is closing.
func (g *gateway) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Add(1)
	return true
}

// expire ends what was idle for too long.
func (g *gateway) expire(now time.Time) {
	g.tcp.expire(now)
	g.udp.table.expire(now)
	g.ping.table.expire(now)
	g.ping6.table.expire(now)
}

// forget ends the flows of the guest with the given MAC, which is gone.
func (g *gateway) forget(mac net.HardwareAddr) {
	g.forgetNeighbors(mac, header.IPv4ProtocolNumber)
	g.forgetNeighbors(mac, header.IPv6ProtocolNumber)
}

func (g *gateway) forgetNeighbors(mac net.HardwareAddr, proto tcpip.NetworkProtocolNumber) {
	neighbors, err := g.stack.Neighbors(nicID, proto)
	if err != nil {
		return // no table, so no flows
	}
	for _, n := range neighbors {
		if n.LinkAddr != tcpip.LinkAddress(mac) {
			continue
		}
		_ = g.stack.RemoveNeighbor(nicID, proto, n.Addr) // it may be gone by now
		guest := toAddr(n.Addr)
		g.tcp.endGuest(guest)
		g.udp.table.endGuest(guest)
		g.ping.table.endGuest(guest)
		g.ping6.table.endGuest(guest)
	}
}

func (g *gateway) fill(s *Stats) {
	s.TCP = g.tcp.stats()
	s.UDP = g.udp.table.stats()
	s.Ping = g.ping.table.stats()
	six := g.ping6.table.stats()
	s.Ping.Open, s.Ping.Total = s.Ping.Open+six.Open, s.Ping.Total+six.Total
}

// close ends everything and waits. No device may write any more.
func (g *gateway) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel()
	g.tcp.endAll()
	g.udp.table.endAll()
	g.ping.table.endAll()
	g.ping6.table.endAll()
	done := make(chan struct{})
	go func() {
		g.wg.Wait()
		close(done)
	}()
	g.abortUntil(done)
	g.stack.Destroy()
}

// abortUntil resets the stack's connections until done: one may be made while
// the others are reset, by a dial that had just succeeded, and its handshake
// would wait for a guest that is gone.
func (g *gateway) abortUntil(done <-chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, ep := range g.stack.RegisteredEndpoints() {
			ep.Abort()
		}
		select {
		case <-done:
			return
		case <-tick.C:
		}
	}
}
