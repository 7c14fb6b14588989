package netstack_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// packet makes an IPv4 packet from the guest.
func (g *guest) packet(proto byte, dst string, ttl byte, payload []byte) []byte {
	b := make([]byte, 20+len(payload))
	header.IPv4(b).Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: ttl, Protocol: proto,
		SrcAddr: tcpip.AddrFrom4(g.addr.As4()), DstAddr: tcpip.AddrFrom4(netip.MustParseAddr(dst).As4()),
	})
	header.IPv4(b).SetChecksum(^header.IPv4(b).CalculateChecksum())
	copy(b[20:], payload)
	return b
}

func echoRequest(id, seq uint16, data []byte) []byte {
	m := make([]byte, 8+len(data))
	m[0] = 8
	binary.BigEndian.PutUint16(m[4:], id)
	binary.BigEndian.PutUint16(m[6:], seq)
	copy(m[8:], data)
	header.ICMPv4(m).SetChecksum(^checksum.Checksum(m, 0))
	return m
}

// synPacket makes the header of a TCP SYN, without a valid checksum.
func synPacket(port uint16) []byte {
	b := make([]byte, 20)
	header.TCP(b).Encode(&header.TCPFields{SrcPort: 40000, DstPort: port, SeqNum: 77, DataOffset: 20, Flags: header.TCPFlagSyn, WindowSize: 1000})
	return b
}

func udpPacket(port uint16, payload string) []byte {
	b := make([]byte, 8+len(payload))
	header.UDP(b).Encode(&header.UDPFields{SrcPort: 40000, DstPort: port, Length: uint16(len(b))})
	copy(b[8:], payload)
	return b
}

// nextICMP returns the ICMP message of the next packet with ICMP, and its source.
func (g *guest) nextICMP() (src netip.Addr, msg []byte) {
	g.t.Helper()
	select {
	case p := <-g.icmp:
		src = netip.AddrFrom4([4]byte(p[12:16]))
		if xsum := checksum.Checksum(p[20:], 0); xsum != 0xffff {
			g.t.Errorf("ICMP message from %s has a wrong checksum", src)
		}
		return src, p[20:]
	case <-time.After(patience):
		g.t.Fatal("no ICMP message came")
		return
	}
}

// meet lets guest and gateway learn each other's address.
func (g *guest) meet() {
	g.t.Helper()
	g.sendIP(g.packet(1, g.dev.Info().Gateway.String(), 64, echoRequest(1, 1, nil)))
	if src, msg := g.nextICMP(); src != g.dev.Info().Gateway || msg[0] != 0 {
		g.t.Fatalf("from %s: ICMP type %d, want the gateway's echo reply", src, msg[0])
	}
}

func TestPingGateway(t *testing.T) {
	for _, mode := range []vmnet.Mode{vmnet.Shared, vmnet.Host} {
		t.Run(mode.String(), func(t *testing.T) {
			n := openNetwork(t, netstack.Config{}, func(c *vmnet.NetworkConfig) { c.Mode = mode })
			g := newGuest(t, n, "192.168.127.2")
			for seq, to := range []netip.Addr{n.Info().Gateway, n.Info().HostLoopbackAddr} {
				data := bytes.Repeat([]byte{byte(seq), 0xaa}, 600)
				g.sendIP(g.packet(1, to.String(), 64, echoRequest(9, uint16(seq), data)))
				src, msg := g.nextICMP()
				if src != to || msg[0] != 0 || !bytes.Equal(msg[8:], data) {
					t.Errorf("ping %s: from %s type %d with %d bytes, want its echo", to, src, msg[0], len(msg)-8)
				}
			}
		})
	}
}

// TestRefusals sends packets that the gateway must not forward and checks how
// each is answered. None of the addresses may seem alive.
func TestRefusals(t *testing.T) {
	const tcp, udp, icmp = 6, 17, 1
	cases := []struct {
		name      string
		mode      vmnet.Mode
		proto     byte
		dst       string
		ttl       byte
		payload   []byte
		typ, code byte
		from      string
		reason    string
	}{
		{"host's loopback", vmnet.Shared, tcp, "127.0.0.1", 64, synPacket(22), 3, 13, "192.168.127.1", "prohibited"},
		{"this network", vmnet.Shared, udp, "0.0.0.5", 64, udpPacket(9, "x"), 3, 13, "192.168.127.1", "prohibited"},
		{"metadata service", vmnet.Shared, tcp, "169.254.169.254", 64, synPacket(80), 3, 13, "192.168.127.1", "prohibited"},
		{"reserved", vmnet.Shared, udp, "250.1.2.3", 64, udpPacket(9, "x"), 3, 13, "192.168.127.1", "prohibited"},
		{"nobody on the subnet", vmnet.Shared, tcp, "192.168.127.77", 64, synPacket(22), 3, 1, "192.168.127.1", "no-such-host"},
		{"ping nobody on the subnet", vmnet.Shared, icmp, "192.168.127.77", 64, echoRequest(1, 1, nil), 3, 1, "192.168.127.1", "no-such-host"},
		{"ping host's loopback", vmnet.Shared, icmp, "127.0.0.1", 64, echoRequest(1, 1, nil), 3, 13, "192.168.127.1", "prohibited"},
		{"outside from a host network", vmnet.Host, tcp, "192.0.2.1", 64, synPacket(80), 3, 0, "192.168.127.1", "host-only"},
		{"ping outside from a host network", vmnet.Host, icmp, "192.0.2.1", 64, echoRequest(1, 1, nil), 3, 0, "192.168.127.1", "host-only"},
		{"first hop of a traceroute", vmnet.Shared, udp, "192.0.2.1", 1, udpPacket(33434, "x"), 11, 0, "192.168.127.1", "ttl-exceeded"},
		{"gateway's closed UDP port", vmnet.Shared, udp, "192.168.127.1", 64, udpPacket(9, "x"), 3, 3, "192.168.127.1", "port-closed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := openNetwork(t, netstack.Config{}, func(nc *vmnet.NetworkConfig) { nc.Mode = c.mode })
			g := newGuest(t, n, "192.168.127.2")
			g.meet()
			p := g.packet(c.proto, c.dst, c.ttl, c.payload)
			g.sendIP(p)
			src, msg := g.nextICMP()
			if src.String() != c.from || msg[0] != c.typ || msg[1] != c.code {
				t.Errorf("answer from %s type %d code %d, want %s %d/%d", src, msg[0], msg[1], c.from, c.typ, c.code)
			}
			if !bytes.Equal(msg[8+12:8+20], p[12:20]) || !bytes.Equal(msg[8+20:8+28], p[20:28]) {
				t.Errorf("quotes % x, want % x", msg[8:], p)
			}
			if n := n.Stats().Drops[c.reason]; n != 1 {
				t.Errorf("%s counted %d times, want 1", c.reason, n)
			}
		})
	}
}

// TestSilence sends what must not be answered at all.
func TestSilence(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	g := newGuest(t, n, "192.168.127.2")
	g.meet()
	spoof := func(src string) []byte {
		p := g.packet(1, "192.168.127.1", 64, echoRequest(1, 1, nil))
		copy(p[12:16], netip.MustParseAddr(src).AsSlice())
		header.IPv4(p).SetChecksum(0)
		header.IPv4(p).SetChecksum(^header.IPv4(p).CalculateChecksum())
		return p
	}
	unreachable := append([]byte{3, 1, 0, 0, 0, 0, 0, 0}, g.packet(17, "192.0.2.1", 64, udpPacket(9, ""))...)
	fragment := g.packet(17, "127.0.0.1", 64, udpPacket(9, "x"))
	fragment[7] = 1 // a later fragment
	for _, p := range [][]byte{
		g.packet(17, "192.168.127.255", 64, udpPacket(9, "x")), // directed broadcast
		g.packet(17, "255.255.255.255", 64, udpPacket(67, "x")),
		g.packet(17, "224.0.0.251", 64, udpPacket(5353, "x")),
		g.packet(1, "127.0.0.1", 64, unreachable), // an error about an error
		fragment,
		spoof("10.9.8.7"), spoof("192.168.127.1"), spoof("192.168.127.255"), spoof("0.0.0.0"),
		{0x45, 0}, {0x60}, {0x4f, 0, 0, 20}, nil,
	} {
		g.sendIP(p)
	}
	g.meet() // the next answer is to this: those before had none
	if d := n.Stats().Drops; d["bad-source-ip"] != 4 || d["not-forwarded"] != 3 || d["malformed"] != 4 {
		t.Errorf("drops: %v, want 4 bad-source-ip, 3 not-forwarded, 4 malformed", d)
	}
}

// TestGatewayTCPPort checks that a closed port of the gateway is refused at once.
func TestGatewayTCPPort(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	g := newGuest(t, n, "192.168.127.2")
	start := time.Now()
	if c, err := g.dial(netip.AddrPortFrom(n.Info().Gateway, 22)); err == nil {
		_ = c.Close()
		t.Fatal("connected to a port that is closed")
	}
	if took := time.Since(start); took >= patience {
		t.Errorf("refused after %s, want at once", took)
	}
}

// TestARP checks that the gateway answers for its own addresses and for no other,
// and that a probe is answered.
func TestARP(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	dev := startDevice(t, n)
	ask := func(sender, target string) []byte {
		f := make([]byte, 60)
		header.Ethernet(f).Encode(&header.EthernetFields{
			SrcAddr: tcpip.LinkAddress(dev.Info().MAC), DstAddr: header.EthernetBroadcastAddress, Type: header.ARPProtocolNumber,
		})
		a := header.ARP(f[14:42])
		a.SetIPv4OverEthernet()
		a.SetOp(header.ARPRequest)
		copy(a.HardwareAddressSender(), dev.Info().MAC)
		copy(a.ProtocolAddressSender(), netip.MustParseAddr(sender).AsSlice())
		copy(a.ProtocolAddressTarget(), netip.MustParseAddr(target).AsSlice())
		return f
	}
	frames := [][]byte{
		ask("192.168.127.2", "192.168.127.9"),   // another guest's
		ask("192.168.127.2", "8.8.8.8"),         // outside
		ask("192.168.127.1", "192.168.127.1"),   // somebody claims the gateway's
		ask("0.0.0.0", "192.168.127.1"),         // probe
		ask("192.168.127.2", "192.168.127.254"), // the host's loopback
	}
	if k, err := dev.WriteBatch(frames); k != len(frames) || err != nil {
		t.Fatalf("write: %d, %v", k, err)
	}
	for _, want := range []string{"192.168.127.1", "192.168.127.254"} {
		f := readFrame(t, dev)
		a := header.ARP(f[14:])
		got := netip.AddrFrom4([4]byte(a.ProtocolAddressSender()))
		if a.Op() != header.ARPReply || got.String() != want || !bytes.Equal(a.HardwareAddressSender(), vmnet.GatewayMAC(t.Name())) {
			t.Errorf("ARP op %d of %s at % x, want a reply of %s at the gateway's MAC", a.Op(), got, a.HardwareAddressSender(), want)
		}
	}
}

// readFrame returns the next frame, waiting for it.
func readFrame(t testing.TB, d vmnet.Device) []byte {
	t.Helper()
	buf, sizes := [][]byte{make([]byte, d.Info().MaxPacketSize)}, make([]int, 1)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if n, err := d.ReadBatch(buf, sizes); n == 1 {
			return buf[0][:sizes[0]]
		} else if err != vmnet.ErrNoPackets { //nolint:errorlint // returned bare
			t.Fatalf("read: %v", err)
		}
	}
	t.Fatal("no frame came")
	return nil
}
