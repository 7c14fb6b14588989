package netstack_test

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

func TestPingGateway6(t *testing.T) {
	n := open6(t, nil)
	g := newGuest(t, n, "fd00:127::2")
	link := netip.AddrFrom16(header.LinkLocalAddr(tcpip.LinkAddress(vmnet.GatewayMAC(t.Name()))).As16()).String()
	for seq, to := range []string{"fd00:127::1", n.Info().HostLoopbackAddr6.String(), link} {
		data := bytes.Repeat([]byte{byte(seq), 0xaa}, 600)
		g.sendIP(g.packet6(58, "fd00:127::2", to, 64, echoRequest6(9, uint16(seq), data)))
		src, msg := g.nextICMP6()
		if src.String() != to || msg[0] != 129 || !bytes.Equal(msg[8:], data) {
			t.Errorf("ping %s: from %s type %d with %d bytes, want its echo", to, src, msg[0], len(msg)-8)
		}
	}
}

// TestTCPEcho6 moves more than every buffer holds, both ways at once, with a
// half-close at the end.
func TestTCPEcho6(t *testing.T) {
	require.IPv6(t)
	for _, mtu := range []int{0, vmnet.MinMTU, vmnet.MaxMTU} {
		n := open6(t, func(c *vmnet.NetworkConfig) { c.MTU = mtu })
		g := newGuest(t, n, "fd00:127::2")
		c := g.mustDial(netip.AddrPortFrom(n.Info().HostLoopbackAddr6, listen6(t)))
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
		go func() {
			_, _ = c.Write(data)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("MTU %d: %d bytes came back, %v", mtu, len(got), err)
		}
	}
}

func TestUDPEcho6(t *testing.T) {
	require.IPv6(t)
	pc, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(buf[:n], from)
		}
	}()
	t.Cleanup(func() {
		_ = pc.Close()
		<-done
	})
	n := open6(t, nil)
	c := newGuest(t, n, "fd00:127::2").dialUDP(netip.AddrPortFrom(n.Info().HostLoopbackAddr6, netip.MustParseAddrPort(pc.LocalAddr().String()).Port()))
	buf := make([]byte, 1<<16)
	for _, size := range []int{1, 0, 1452, 1453, 9000, 65000} {
		data := bytes.Repeat([]byte{0x5a}, size)
		if _, err := c.Write(data); err != nil {
			t.Fatalf("write %d bytes: %v", size, err)
		}
		if k, err := c.Read(buf); err != nil || !bytes.Equal(buf[:k], data) {
			t.Fatalf("echo of %d bytes: %d, %v", size, k, err)
		}
	}
}

// TestRefused6 checks that a refused connection is refused, and a closed UDP port
// told.
func TestRefused6(t *testing.T) {
	require.IPv6(t)
	n := open6(t, nil)
	g := newGuest(t, n, "fd00:127::2")
	if c, err := g.dial(netip.AddrPortFrom(n.Info().HostLoopbackAddr6, 1)); err == nil {
		_ = c.Close()
		t.Error("a connection to a closed port of the host succeeded")
	}
	if c, err := g.dial(netip.MustParseAddrPort("[fd00:127::1]:22")); err == nil {
		_ = c.Close()
		t.Error("a connection to a closed port of the gateway succeeded")
	}
	if d := n.Stats().Drops; d["dial-refused"] == 0 || d["port-closed"] == 0 { // more if the guest asked again meanwhile
		t.Errorf("drops %v", d)
	}
}

// TestRefusals6 sends packets that the gateway must not forward and checks how
// each is answered.
func TestRefusals6(t *testing.T) {
	const tcp, udp, icmp = 6, 17, 58
	hop := func(next byte, payload []byte) []byte { return append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, payload...) }
	cases := []struct {
		name      string
		mode      vmnet.Mode
		proto     byte
		dst       string
		hops      byte
		payload   []byte
		typ, code byte
		reason    string
	}{
		{"host's loopback", vmnet.Shared, tcp, "::1", 64, synPacket(22), 1, 1, "prohibited"},
		{"IPv4-mapped", vmnet.Shared, tcp, "::ffff:127.0.0.1", 64, synPacket(22), 1, 1, "prohibited"},
		{"link-local", vmnet.Shared, tcp, "fe80::99", 64, synPacket(22), 1, 1, "prohibited"},
		{"site-local", vmnet.Shared, tcp, "fec0::99", 64, synPacket(22), 1, 1, "prohibited"},
		{"discard", vmnet.Shared, tcp, "100::1", 64, synPacket(22), 1, 1, "prohibited"},
		{"metadata of EC2", vmnet.Shared, tcp, "fd00:ec2::254", 64, synPacket(80), 1, 1, "prohibited"},
		{"metadata of Google", vmnet.Shared, tcp, "fd20:ce::254", 64, synPacket(80), 1, 1, "prohibited"},
		{"metadata by NAT64", vmnet.Shared, tcp, "64:ff9b::169.254.169.254", 64, synPacket(80), 1, 1, "prohibited"},
		{"loopback by 6to4", vmnet.Shared, tcp, "2002:7f00:1::1", 64, synPacket(80), 1, 1, "prohibited"},
		{"nobody on the subnet", vmnet.Shared, tcp, "fd00:127::77", 64, synPacket(22), 1, 3, "no-such-host"},
		{"ping nobody on the subnet", vmnet.Shared, icmp, "fd00:127::77", 64, echoRequest6(1, 1, nil), 1, 3, "no-such-host"},
		{"outside from a host network", vmnet.Host, tcp, "2001:db8::1", 64, synPacket(80), 1, 0, "host-only"},
		{"behind an extension header", vmnet.Host, 0, "2001:db8::1", 64, hop(tcp, synPacket(80)), 1, 0, "host-only"},
		{"first hop of a traceroute", vmnet.Shared, udp, "2001:db8::1", 1, udpPacket(33434, "x"), 3, 0, "ttl-exceeded"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := open6(t, func(nc *vmnet.NetworkConfig) { nc.Mode = c.mode })
			g := newGuest(t, n, "fd00:127::2")
			g.meet6()
			p := g.packet6(c.proto, "fd00:127::2", c.dst, c.hops, c.payload)
			g.sendIP(p)
			src, msg := g.nextICMP6()
			if src.String() != "fd00:127::1" || msg[0] != c.typ || msg[1] != c.code {
				t.Errorf("answer from %s type %d code %d, want the gateway's %d/%d", src, msg[0], msg[1], c.typ, c.code)
			}
			if !bytes.HasPrefix(p, msg[8:]) {
				t.Errorf("quotes % x, want % x", msg[8:], p)
			}
			if n := n.Stats().Drops[c.reason]; n != 1 {
				t.Errorf("%s counted %d times, want 1", c.reason, n)
			}
		})
	}
}

// TestSilence6 sends what must not be answered, nor let an address seem taken.
func TestSilence6(t *testing.T) {
	n := open6(t, nil)
	g := newGuest(t, n, "fd00:127::2")
	g.meet6()
	solicit := func(target string) []byte {
		m := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, netip.MustParseAddr(target).AsSlice()...)
		return append(append(m, 1, 1), g.dev.Info().MAC...)
	}
	unreachable := append([]byte{1, 3, 0, 0, 0, 0, 0, 0}, g.packet6(17, "fd00:127::2", "2001:db8::1", 64, udpPacket(9, ""))...)
	hidden := append([]byte{58, 0, 1, 4, 0, 0, 0, 0}, solicit("fd00:127::77")...)
	group := g.packet6(58, "fd00:127::2", "fd00:127::1", 64, echoRequest6(1, 1, nil))
	group[24], group[25] = 0xff, 2
	for _, p := range [][]byte{
		g.packet6(58, "fd00:127::2", "ff02::1:ff00:77", 255, solicit("fd00:127::77")), // somebody's else
		g.packet6(58, "fd00:127::2", "fd00:127::1", 255, solicit("2001:db8::1")),      // the outside's
		g.packet6(0, "fd00:127::2", "fd00:127::1", 255, hidden),                       // behind a header
		g.packet6(58, "fd00:127::1", "fd00:127::1", 64, echoRequest6(1, 1, nil)),      // the gateway's own source
		g.packet6(58, "2001:db8::1", "fd00:127::1", 64, echoRequest6(1, 1, nil)),      // a foreign source
		g.packet6(58, "fe80::5", "2001:db8::1", 64, echoRequest6(1, 1, nil)),          // link-local, to be forwarded
		g.packet6(58, "fd00:127::2", "fe80::77", 64, unreachable),                     // an error about an error
		g.packet6(58, "fd00:127::2", "fd00:127::1", 255, []byte{134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
		group, {0x60}, append([]byte{0x60, 0, 0, 0, 0xff, 0xff, 58, 64}, make([]byte, 32)...),
	} {
		g.sendIP(p)
	}
	g.sendIP(g.packet6(58, "fd00:127::2", "fd00:127::1", 64, echoRequest6(77, 1, nil)))
	for {
		p := <-g.icmp
		if p[40] == 136 && !bytes.Equal(p[48:64], netip.MustParseAddr("fd00:127::1").AsSlice()) {
			target, _ := netip.AddrFromSlice(p[48:64])
			t.Errorf("the gateway advertises %s", target)
		}
		if p[40] == 135 || p[40] == 136 {
			continue
		}
		if p[40] != 129 || p[45] != 77 {
			t.Fatalf("answered with % x", p)
		}
		break
	}
}

// TestDNS6 asks a dual-stack network for names and addresses over IPv6.
func TestDNS6(t *testing.T) {
	n := open6(t, func(c *vmnet.NetworkConfig) { c.Subnet = subnet })
	if err := n.SetNames("c1", []string{"web"}, []netip.Addr{netip.MustParseAddr("192.168.127.2"), netip.MustParseAddr("fd00:127::2")}); err != nil {
		t.Fatal(err)
	}
	g := newGuest(t, n, "fd00:127::2")
	for _, c := range []struct {
		network, name string
		qtype         uint16
		want          string
	}{
		{"udp", "gateway.vm.internal.", dns.TypeAAAA, "fd00:127::1"},
		{"udp", "gateway.vm.internal.", dns.TypeA, "192.168.127.1"},
		{"tcp", "web.vm.internal.", dns.TypeAAAA, "fd00:127::2"},
		{"udp", "host.vm.internal.", dns.TypeAAAA, "fd00:127::ffff:ffff:ffff:ffff"},
		{"udp", "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.2.1.0.0.0.d.f.ip6.arpa.", dns.TypePTR, "web.vm.internal."},
	} {
		m := g.query(c.network, c.name, c.qtype)
		if len(m.Answer) != 1 || !bytes.HasSuffix([]byte(m.Answer[0].String()), []byte("\t"+c.want)) {
			t.Errorf("%s %s: %v, want %s", c.name, dns.TypeToString[c.qtype], m.Answer, c.want)
		}
	}
	if m := g.query("udp", "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.2.1.0.0.0.d.f.ip6.arpa.", dns.TypePTR); m.Rcode != dns.RcodeNameError {
		t.Errorf("name of an address that nobody has: %s", dns.RcodeToString[m.Rcode])
	}
}

// TestForget6 ends a guest's flows with its device.
func TestForget6(t *testing.T) {
	require.IPv6(t)
	n := open6(t, nil)
	g := newGuest(t, n, "fd00:127::2")
	g.mustDial(netip.AddrPortFrom(n.Info().HostLoopbackAddr6, listen6(t)))
	wait(t, "the flow", func() bool { return n.Stats().TCP.Open == 1 })
	_ = g.dev.Close()
	wait(t, "the flow to end", func() bool { return n.Stats().TCP.Open == 0 })
}

// TestNoIPv6 checks that a network without IPv6 keeps silent in it.
func TestNoIPv6(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	g := newGuest(t, n, "192.168.127.2")
	g.addr = netip.MustParseAddr("fd00:127::2")
	before := n.Stats().FromGateway
	g.sendIP(g.packet6(58, "fd00:127::2", "fd00:127::1", 64, echoRequest6(1, 1, nil)))
	if after := n.Stats().FromGateway; after != before {
		t.Errorf("the gateway sent %d frames", after-before)
	}
}
