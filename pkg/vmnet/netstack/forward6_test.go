package netstack_test

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// TestForward6 forwards TCP and UDP of the host's ::1 to a guest's IPv6 address.
func TestForward6(t *testing.T) {
	require.IPv6(t)
	n := open6(t, nil)
	g := newGuest(t, n, "fd00:127::2")
	inside := netip.AddrPortFrom(g.addr, 80)
	l, err := gonet.ListenTCP(g.stack, full(inside), ipv6.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Shutdown)
	from := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		from <- c.RemoteAddr().(*net.TCPAddr).IP.String()
		_, _ = io.WriteString(c, "hello")
		c.Close()
	}()
	at := full(inside)
	pc, err := gonet.DialUDP(g.stack, &at, nil, ipv6.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 64)
		if n, peer, err := pc.ReadFrom(buf); err == nil {
			_, _ = pc.WriteTo(buf[:n], peer)
		}
	}()
	f := g.dev.(vmnet.Forwarder)
	external := netip.AddrPortFrom(netip.IPv6Loopback(), freePort(t).Port())
	for _, p := range []vmnet.Protocol{vmnet.TCP, vmnet.UDP} {
		if err := f.AddForward(t.Context(), vmnet.Forward{Protocol: p, External: external, Internal: inside}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := net.Dial("tcp6", external.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if text, err := io.ReadAll(c); string(text) != "hello" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if got := <-from; got != "fd00:127::1" {
		t.Errorf("the guest sees %s, want the gateway", got)
	}
	u, err := net.Dial("udp6", external.String())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	_ = u.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, 64)
	_, err = io.WriteString(u, "ping")
	if k, rerr := u.Read(buf); err != nil || rerr != nil || string(buf[:k]) != "ping" {
		t.Errorf("%q, %v, %v", buf[:k], err, rerr)
	}
	link := netip.MustParseAddrPort("[fe80::2]:80")
	if err := f.AddForward(t.Context(), vmnet.Forward{Protocol: vmnet.TCP, External: freePort(t), Internal: link}); err == nil {
		t.Error("forwards to a link-local address")
	}
}
