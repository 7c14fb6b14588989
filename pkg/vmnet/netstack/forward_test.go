package netstack_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/vmnet-cni/vmnet/internal/port"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// freePort returns a port of the loopback that nobody on the host has.
func freePort(t testing.TB) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port.Free(t, 1)[0])
}

func TestForwardTCP(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	g := newGuest(t, n, "192.168.127.2")
	inside := netip.AddrPortFrom(g.addr, 80)
	l, err := gonet.ListenTCP(g.stack, full(inside), ipv4.ProtocolNumber)
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
				fmt.Fprintf(c, "hello %s\n", c.RemoteAddr().(*net.TCPAddr).IP)
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Shutdown()
		<-done
		_ = l.Close()
	})
	f := g.dev.(vmnet.Forwarder)
	rule := vmnet.Forward{Protocol: vmnet.TCP, External: freePort(t), Internal: inside}
	if err := f.AddForward(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp4", rule.External.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, "and back")
	_ = c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(c); string(b) != "hello 192.168.127.1\nand back" || err != nil {
		t.Errorf("through the forward: %q, %v", b, err)
	}
	// An open connection ends with its rule.
	open, err := net.Dial("tcp4", rule.External.String())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	_ = open.SetDeadline(time.Now().Add(patience))
	if _, err := open.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if err := f.RemoveForward(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(open); err == nil {
		t.Errorf("the connection of a removed rule read %q and no error, want a reset", b)
	}
	if c, err := net.Dial("tcp4", rule.External.String()); err == nil {
		_ = c.Close()
		t.Error("connected after the rule was removed")
	}
}

// TestForwardRefused forwards to a port that is closed in the guest.
func TestForwardRefused(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	g := newGuest(t, n, "192.168.127.2")
	rule := vmnet.Forward{Protocol: vmnet.TCP, External: freePort(t), Internal: netip.AddrPortFrom(g.addr, 81)}
	if err := g.dev.(vmnet.Forwarder).AddForward(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp4", rule.External.String())
	if err != nil {
		return // reset before connect returned
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read: %v, want a reset", err)
	}
}

func TestForwardUDP(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	g := newGuest(t, n, "192.168.127.2")
	local := full(netip.AddrPortFrom(g.addr, 5000))
	inside, err := gonet.DialUDP(g.stack, &local, nil, ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	_ = inside.SetDeadline(time.Now().Add(patience))
	one := freePort(t)
	all := netip.AddrPortFrom(netip.Addr{}, one.Port())
	rule := vmnet.Forward{Protocol: vmnet.UDP, External: all, Internal: netip.AddrPortFrom(g.addr, 5000)}
	if err := g.dev.(vmnet.Forwarder).AddForward(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	for range 2 { // two peers, told apart
		c, err := net.Dial("udp4", one.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(c, c.LocalAddr())
		buf := make([]byte, 100)
		k, from, err := inside.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := inside.WriteTo(buf[:k], from); err != nil {
			t.Fatal(err)
		}
		if k, err := c.Read(buf); err != nil || string(buf[:k]) != c.LocalAddr().String() {
			t.Errorf("answer %q, %v, want what this peer sent", buf[:k], err)
		}
	}
}

func TestForwardRefuses(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	g := newGuest(t, n, "192.168.127.2")
	f := g.dev.(vmnet.Forwarder)
	free, guest := freePort(t), netip.AddrPortFrom(g.addr, 80)
	taken := netip.MustParseAddrPort(listen(t, echo).String())
	for _, c := range []struct {
		name string
		rule vmnet.Forward
		want error
	}{
		{"protocol", vmnet.Forward{Protocol: vmnet.ICMP, External: free, Internal: guest}, errors.ErrUnsupported},
		{"no port", vmnet.Forward{Protocol: vmnet.TCP, External: netip.AddrPortFrom(free.Addr(), 0), Internal: guest}, vmnet.InvalidArgument},
		{"no port inside", vmnet.Forward{Protocol: vmnet.TCP, External: free, Internal: netip.AddrPortFrom(g.addr, 0)}, vmnet.InvalidArgument},
		{"to the gateway", vmnet.Forward{Protocol: vmnet.TCP, External: free, Internal: netip.AddrPortFrom(n.Info().Gateway, 80)}, vmnet.InvalidArgument},
		{"to elsewhere", vmnet.Forward{Protocol: vmnet.TCP, External: free, Internal: netip.MustParseAddrPort("10.0.0.1:80")}, vmnet.InvalidArgument},
		{"taken", vmnet.Forward{Protocol: vmnet.TCP, External: taken, Internal: guest}, nil},
	} {
		if err := f.AddForward(t.Context(), c.rule); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if rules, err := f.Forwards(t.Context()); len(rules) != 0 || err != nil {
		t.Errorf("rules left: %v, %v", rules, err)
	}
}
