package netstack_test

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// patience is how long a test waits for what must come. It says nothing about how
// soon that is.
const patience = 30 * time.Second

var noTime time.Time

var subnet = netip.MustParsePrefix("192.168.127.0/24")

// openNetwork opens a network that is closed with the test. change may be nil.
func openNetwork(t testing.TB, cfg netstack.Config, change func(*vmnet.NetworkConfig)) *netstack.Network {
	t.Helper()
	nc := vmnet.NetworkConfig{Name: t.Name(), Subnet: subnet, HostLoopback: true}
	if change != nil {
		change(&nc)
	}
	n, err := netstack.New(cfg).Open(context.Background(), nc)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close network: %v", err)
		}
	})
	return n.(*netstack.Network)
}

func startDevice(t testing.TB, n vmnet.Network) vmnet.Device {
	t.Helper()
	d, err := n.Start(context.Background(), vmnet.Config{UUID: uuid.New()})
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// A guest is a TCP/IP stack directly on a device.
type guest struct {
	t     testing.TB
	dev   vmnet.Device
	addr  netip.Addr
	stack *stack.Stack
	link  *guestLink
	icmp  chan []byte // every packet with ICMP that came
}

func newGuest(t testing.TB, n vmnet.Network, addr string) *guest {
	t.Helper()
	return newGuestWith(t, n, addr, func(l *guestLink) stack.LinkEndpoint { return l })
}

// newGuestWith is newGuest with another network card around the guest's link.
func newGuestWith(t testing.TB, n vmnet.Network, addr string, card func(*guestLink) stack.LinkEndpoint) *guest {
	t.Helper()
	dev := startDevice(t, n)
	g := &guest{t: t, dev: dev, addr: netip.MustParseAddr(addr), icmp: make(chan []byte, 64)}
	g.link = newGuestLink(dev, g.icmp)
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate} {
		if err := g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			t.Fatalf("guest option: %s", err)
		}
	}
	if err := g.stack.CreateNIC(1, ethernet.New(card(g.link))); err != nil {
		t.Fatalf("guest NIC: %s", err)
	}
	gateway, length := dev.Info().Gateway, dev.Info().Subnet.Bits()
	if g.addr.Is6() {
		gateway, length = vmnet.FirstAddr(dev.Info().Subnet6), 64
	}
	pa := tcpip.ProtocolAddress{Protocol: protocolOf(g.addr), AddressWithPrefix: tcpip.AddressWithPrefix{
		Address: tcpip.AddrFromSlice(g.addr.AsSlice()), PrefixLen: length,
	}}
	if err := g.stack.AddProtocolAddress(1, pa, stack.AddressProperties{}); err != nil {
		t.Fatalf("guest address: %s", err)
	}
	g.stack.SetRouteTable([]tcpip.Route{
		{Destination: pa.AddressWithPrefix.Subnet(), NIC: 1},
		{Destination: everything(g.addr), NIC: 1, Gateway: tcpip.AddrFromSlice(gateway.AsSlice())},
	})
	if err := dev.SetEventHandler(g.link.pump); err != nil {
		t.Fatalf("guest handler: %v", err)
	}
	t.Cleanup(g.close)
	return g
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is6() {
		return ipv6.ProtocolNumber
	}
	return ipv4.ProtocolNumber
}

func everything(a netip.Addr) tcpip.Subnet {
	if a.Is6() {
		return header.IPv6EmptySubnet
	}
	return header.IPv4EmptySubnet
}

func (g *guest) close() {
	g.stack.Close()
	_ = g.dev.Close()
	g.stack.Destroy()
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(a.Addr().AsSlice()), Port: a.Port()}
}

func (g *guest) dial(to netip.AddrPort) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, g.stack, full(to), protocolOf(to.Addr()))
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(patience))
	}
	return c, err
}

func (g *guest) mustDial(to netip.AddrPort) *gonet.TCPConn {
	g.t.Helper()
	c, err := g.dial(to)
	if err != nil {
		g.t.Fatalf("dial %s: %v", to, err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (g *guest) dialUDP(to netip.AddrPort) *gonet.UDPConn {
	g.t.Helper()
	raddr := full(to)
	c, err := gonet.DialUDP(g.stack, nil, &raddr, protocolOf(to.Addr()))
	if err != nil {
		g.t.Fatalf("dial udp %s: %v", to, err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	g.t.Cleanup(func() { _ = c.Close() })
	return c
}

// loopback returns the address under which guests reach to, a listener on the
// host's loopback.
func loopback(n *netstack.Network, a net.Addr) netip.AddrPort {
	return netip.AddrPortFrom(n.Info().HostLoopbackAddr, netip.MustParseAddrPort(a.String()).Port())
}

// sendIP writes an IP packet to the gateway, as it is.
func (g *guest) sendIP(packet []byte) {
	g.t.Helper()
	proto := header.IPv4ProtocolNumber
	if g.addr.Is6() {
		proto = header.IPv6ProtocolNumber
	}
	eth := make(header.Ethernet, vmnet.HeaderLen, vmnet.HeaderLen+len(packet))
	eth.Encode(&header.EthernetFields{
		SrcAddr: tcpip.LinkAddress(g.dev.Info().MAC),
		DstAddr: tcpip.LinkAddress(vmnet.GatewayMAC(g.t.Name())),
		Type:    proto,
	})
	if n, err := g.link.write([][]byte{append(eth, packet...)}); n != 1 || err != nil {
		g.t.Fatalf("write: %d, %v", n, err)
	}
}

// A guestLink is the guest's network card: a device behind gVisor's Ethernet.
type guestLink struct {
	dev      vmnet.Device
	icmp     chan []byte
	d        atomic.Pointer[struct{ stack.NetworkDispatcher }]
	bufs     [][]byte
	sizes    []int
	mu       sync.Mutex // guards the device's writer, and out
	out      [][]byte
	dropIn   atomic.Bool
	received atomic.Int64 // the longest frame
}

func newGuestLink(dev vmnet.Device, icmp chan []byte) *guestLink {
	i := dev.Info()
	l := &guestLink{dev: dev, icmp: icmp, sizes: make([]int, i.ReadBatch)}
	for range i.ReadBatch {
		l.bufs = append(l.bufs, make([]byte, i.MaxPacketSize))
	}
	return l
}

func (l *guestLink) pump() {
	for {
		n, err := l.dev.ReadBatch(l.bufs, l.sizes)
		if err != nil {
			return
		}
		for i := range n {
			f := l.bufs[i][:l.sizes[i]]
			l.received.Store(max(l.received.Load(), int64(len(f))))
			if f[12] == 8 && f[13] == 0 && len(f) > 34 && f[23] == 1 || f[12] == 0x86 && len(f) > 54 && f[20] == 58 {
				select {
				case l.icmp <- append([]byte(nil), f[14:]...):
				default:
				}
			}
			if d := l.d.Load(); d != nil && !l.dropIn.Load() {
				pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(f)})
				d.DeliverNetworkPacket(0, pkt)
				pkt.DecRef()
			}
		}
	}
}

func (l *guestLink) write(frames [][]byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dev.WriteBatch(frames)
}

func (l *guestLink) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = l.out[:0]
	for _, p := range pkts.AsSlice() {
		v := p.ToView()
		l.out = append(l.out, v.ToSlice())
		v.Release()
	}
	for sent := 0; sent < len(l.out); {
		n, err := l.dev.WriteBatch(l.out[sent:])
		if err != nil {
			return sent, &tcpip.ErrClosedForSend{}
		}
		sent += n
	}
	return len(l.out), nil
}

func (l *guestLink) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.d.Store(nil)
		return
	}
	l.d.Store(&struct{ stack.NetworkDispatcher }{d})
}
func (l *guestLink) IsAttached() bool                        { return l.d.Load() != nil }
func (l *guestLink) MTU() uint32                             { return uint32(l.dev.Info().MaxPacketSize) }
func (l *guestLink) SetMTU(uint32)                           {}
func (l *guestLink) MaxHeaderLength() uint16                 { return 0 }
func (l *guestLink) LinkAddress() tcpip.LinkAddress          { return tcpip.LinkAddress(l.dev.Info().MAC) }
func (l *guestLink) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *guestLink) Wait()                                   {}
func (l *guestLink) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (l *guestLink) AddHeader(*stack.PacketBuffer)           {}
func (l *guestLink) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (l *guestLink) Close()                                  {}
func (l *guestLink) SetOnCloseAction(func())                 {}

// Capabilities are none: the guest looks at every checksum that the gateway made.
func (l *guestLink) Capabilities() stack.LinkEndpointCapabilities { return 0 }
