package netstack_test

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

var subnet6 = netip.MustParsePrefix("fd00:127::/64")

func open6(t testing.TB, change func(*vmnet.NetworkConfig)) *netstack.Network {
	return openNetwork(t, netstack.Config{}, func(c *vmnet.NetworkConfig) {
		c.Subnet, c.Subnet6 = netip.Prefix{}, subnet6
		if change != nil {
			change(c)
		}
	})
}

// packet6 makes an IPv6 packet from the guest. An ICMPv6 payload gets its checksum.
func (g *guest) packet6(proto byte, src, dst string, hops byte, payload []byte) []byte {
	b := make([]byte, 40+len(payload))
	from, to := tcpip.AddrFrom16(netip.MustParseAddr(src).As16()), tcpip.AddrFrom16(netip.MustParseAddr(dst).As16())
	header.IPv6(b).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(payload)), TransportProtocol: tcpip.TransportProtocolNumber(proto), HopLimit: hops,
		SrcAddr: from, DstAddr: to,
	})
	copy(b[40:], payload)
	if proto == 58 && len(payload) >= 4 {
		m := header.ICMPv6(b[40:])
		m.SetChecksum(0)
		m.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: m, Src: from, Dst: to}))
	}
	return b
}

func echoRequest6(id, seq uint16, data []byte) []byte {
	m := make([]byte, 8+len(data))
	m[0] = 128
	binary.BigEndian.PutUint16(m[4:], id)
	binary.BigEndian.PutUint16(m[6:], seq)
	copy(m[8:], data)
	return m
}

// nextICMP6 returns the next ICMPv6 message that is no neighbour discovery, with
// its source.
func (g *guest) nextICMP6() (src netip.Addr, msg []byte) {
	g.t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case p := <-g.icmp:
			if p[40] >= 133 && p[40] <= 137 {
				continue
			}
			sum := header.PseudoHeaderChecksum(58, header.IPv6(p).SourceAddress(), header.IPv6(p).DestinationAddress(), uint16(len(p)-40))
			if checksum.Checksum(p[40:], sum) != 0xffff {
				g.t.Errorf("ICMPv6 message % x has a wrong checksum", p[40:48])
			}
			src, _ = netip.AddrFromSlice(p[8:24])
			return src, p[40:]
		case <-deadline:
			g.t.Fatal("no ICMPv6 message came")
			return
		}
	}
}

// meet6 lets guest and gateway learn each other's address.
func (g *guest) meet6() {
	g.t.Helper()
	g.sendIP(g.packet6(58, g.addr.String(), "fd00:127::1", 64, echoRequest6(1, 1, nil)))
	if src, msg := g.nextICMP6(); src.String() != "fd00:127::1" || msg[0] != 129 {
		g.t.Fatalf("from %s: ICMPv6 type %d, want the gateway's echo reply", src, msg[0])
	}
}

// listen6 echoes connections on the host's ::1 until the test ends.
func listen6(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
				_ = c.(*net.TCPConn).CloseWrite()
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}
