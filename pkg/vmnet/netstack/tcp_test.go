package netstack_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// listen accepts on the host's loopback and serves each connection until the
// test ends.
func listen(t testing.TB, serve func(*net.TCPConn)) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
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
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr()
}

func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
}

// TestTCPEcho moves more than every buffer holds, both ways at once, with a
// half-close at the end, at several MTUs.
func TestTCPEcho(t *testing.T) {
	for _, mtu := range []int{0, vmnet.MinMTU, 9000, vmnet.MaxMTU} {
		t.Run(time.Duration(mtu).String(), func(t *testing.T) {
			n := openNetwork(t, netstack.Config{}, func(c *vmnet.NetworkConfig) { c.MTU = mtu })
			g := newGuest(t, n, "192.168.127.2")
			c := g.mustDial(loopback(n, listen(t, echo)))
			data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
			go func() {
				_, _ = c.Write(data)
				_ = c.CloseWrite()
			}()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("echoed %d bytes, %v, want the %d sent", len(got), err, len(data))
			}
			if s := n.Stats(); s.TCP.Total != 1 {
				t.Errorf("stats: %+v, want one TCP flow", s)
			}
		})
	}
}

// TestTCPHalfClose ends the host's direction first.
func TestTCPHalfClose(t *testing.T) {
	got := make(chan string, 1)
	n := openNetwork(t, netstack.Config{}, nil)
	addr := listen(t, func(c *net.TCPConn) {
		_, _ = c.Write([]byte("hello"))
		_ = c.CloseWrite()
		b, err := io.ReadAll(c)
		if err != nil {
			b = []byte(err.Error())
		}
		got <- string(b)
	})
	c := newGuest(t, n, "192.168.127.2").mustDial(loopback(n, addr))
	if b, err := io.ReadAll(c); string(b) != "hello" || err != nil {
		t.Fatalf("from host: %q, %v", b, err)
	}
	if _, err := c.Write([]byte("still here")); err != nil {
		t.Fatalf("write after the host's FIN: %v", err)
	}
	_ = c.CloseWrite()
	if s := <-got; s != "still here" {
		t.Errorf("at host: %q, want what the guest sent after the host's FIN", s)
	}
}

func TestTCPRefused(t *testing.T) {
	n := openNetwork(t, netstack.Config{Limits: netstack.Limits{DialTimeout: time.Hour}}, nil)
	g := newGuest(t, n, "192.168.127.2")
	start := time.Now()
	if c, err := g.dial(netip.AddrPortFrom(n.Info().HostLoopbackAddr, freePort(t).Port())); err == nil {
		_ = c.Close()
		t.Fatal("connected to a closed port")
	} else if took := time.Since(start); took >= patience {
		t.Errorf("not refused within %s: %v", took, err)
	}
	if s := n.Stats(); s.Drops["dial-refused"] == 0 || s.TCP.Open != 0 { // more than one if the guest asked again meanwhile
		t.Errorf("stats: %+v, want dial-refused", s)
	}
}

// TestTCPHostReset has the host reset an open connection.
func TestTCPHostReset(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	addr := listen(t, func(c *net.TCPConn) {
		var b [1]byte
		_, _ = c.Read(b[:])
		_ = c.SetLinger(0)
	})
	c := newGuest(t, n, "192.168.127.2").mustDial(loopback(n, addr))
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read after the host's RST: %v, want a reset", err)
	}
}

// TestTCPGuestReset has the guest reset an open connection, and one that it had
// half closed before.
func TestTCPGuestReset(t *testing.T) {
	for _, half := range []bool{false, true} {
		t.Run(fmt.Sprint("half closed ", half), func(t *testing.T) {
			n := openNetwork(t, netstack.Config{}, nil)
			result := make(chan error, 1)
			addr := listen(t, func(c *net.TCPConn) { result <- untilReset(c) })
			g := newGuest(t, n, "192.168.127.2")
			ep := g.connect(loopback(n, addr), half)
			ep.Abort()
			select {
			case err := <-result:
				if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
					t.Errorf("at the host: %v, want a reset", err)
				}
			case <-time.After(patience):
				t.Error("the host never heard of the reset")
			}
			wait(t, "the flow to end", func() bool { return n.Stats().TCP.Open == 0 })
		})
	}
}

// untilReset returns the error that ends c. Behind a FIN a reset shows only when
// something is written.
func untilReset(c *net.TCPConn) error {
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var soerr int
		if err := raw.Control(func(fd uintptr) { soerr, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR) }); err != nil {
			return err
		}
		if err != nil {
			return err
		}
		if soerr != 0 {
			return syscall.Errno(soerr)
		}
	}
	return errors.New("no reset after the FIN")
}

// connect connects the guest and waits for the host's first byte, behind its own
// FIN if half is set.
func (g *guest) connect(to netip.AddrPort, half bool) tcpip.Endpoint {
	g.t.Helper()
	var wq waiter.Queue
	ep, terr := g.stack.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, &wq)
	if terr != nil {
		g.t.Fatal(terr)
	}
	entry, up := waiter.NewChannelEntry(waiter.WritableEvents)
	wq.EventRegister(&entry)
	_ = ep.Connect(full(to)) // "started"
	<-up
	if half {
		_ = ep.Shutdown(tcpip.ShutdownWrite)
	}
	wait(g.t, "the host's byte", func() bool { return ep.Readiness(waiter.ReadableEvents) != 0 })
	if half { // let the FIN be acknowledged: a reset behind it is another case
		wait(g.t, "the FIN to arrive", func() bool { return tcp.EndpointState(ep.State()) == tcp.StateFinWait2 })
	}
	return ep
}

// TestTCPLimit checks that one flow more than allowed is refused, and that the
// place of one that ended is free again.
func TestTCPLimit(t *testing.T) {
	const limit = 2
	n := openNetwork(t, netstack.Config{Limits: netstack.Limits{TCPPerGuest: limit}}, nil)
	g := newGuest(t, n, "192.168.127.2")
	addr := loopback(n, listen(t, echo))
	first := g.mustDial(addr)
	g.mustDial(addr)
	if c, err := g.dial(addr); err == nil {
		_ = c.Close()
		t.Error("a flow beyond the limit was accepted")
	}
	if n.Stats().Drops["flow-limit"] == 0 { // more than one if the guest asked again meanwhile
		t.Error("flow-limit is not counted")
	}
	newGuest(t, n, "192.168.127.3").mustDial(addr) // the limit is per guest
	_ = first.CloseWrite()
	if _, err := io.ReadAll(first); err != nil {
		t.Fatal(err)
	}
	wait(t, "a place", func() bool { // which is free a little after the flow has ended
		c, err := g.dial(addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func TestTCPIdle(t *testing.T) {
	n := openNetwork(t, netstack.Config{Limits: netstack.Limits{TCPIdle: 50 * time.Millisecond}}, nil)
	c, err := newGuest(t, n, "192.168.127.2").dial(loopback(n, listen(t, echo)))
	if err == nil { // else the reset came before the guest looked
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read on an idle flow: %v, want a reset", err)
	}
	wait(t, "the count", func() bool { return n.Stats().Drops["flow-idle"] == 1 })
}

// TestDeviceCloseEndsFlows closes a guest's device: the host's end must know.
func TestDeviceCloseEndsFlows(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	ended := make(chan struct{})
	addr := listen(t, func(c *net.TCPConn) {
		_, _ = c.Write([]byte("x"))
		_, _ = c.Read(make([]byte, 1)) // how it ends does not matter
		close(ended)
	})
	g := newGuest(t, n, "192.168.127.2")
	c := g.mustDial(loopback(n, addr))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := g.dev.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the flow of a closed device lives on")
	}
	if s := n.Stats(); s.Ports != 0 {
		t.Errorf("stats: %+v, want no port", s)
	}
}

// TestCloseUnderTraffic closes the network while guests talk to the host and to
// each other. The leak check at the end of all tests is part of it.
func TestCloseUnderTraffic(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	addr := loopback(n, listen(t, echo))
	udpAddr := loopback(n, listenUDP(t))
	var wg sync.WaitGroup
	var conns []net.Conn
	for i := range 3 {
		g := newGuest(t, n, fmt.Sprintf("192.168.127.%d", 2+i))
		c := g.mustDial(addr)
		u := g.dialUDP(udpAddr)
		conns = append(conns, c)
		wg.Go(func() { _, _ = io.Copy(io.Discard, c) })
		wg.Go(func() {
			buf := make([]byte, 64<<10)
			for {
				if _, err := c.Write(buf); err != nil {
					return
				}
				_, _ = u.Write(buf[:100])
			}
		})
	}
	wait(t, "traffic", func() bool { return n.Stats().FromGateway > 2000 })
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range conns {
		_ = c.SetDeadline(time.Unix(1, 0)) // the guests' own ends know nothing
	}
	wg.Wait()
	if s := n.Stats(); s.TCP.Open != 0 || s.UDP.Open != 0 || s.Ports != 0 {
		t.Errorf("after close: %+v", s)
	}
	if _, err := n.Start(t.Context(), vmnet.Config{}); !errors.Is(err, vmnet.ErrClosed) {
		t.Errorf("start after close: %v", err)
	}
}

// TestTCPUnreachable dials an address that nobody has (RFC 5737). Whether the
// host says "unreachable" or nothing at all, the guest is told soon.
func TestTCPUnreachable(t *testing.T) {
	const nobody = "198.51.100.77:9"
	c, err := net.DialTimeout("tcp4", nobody, 200*time.Millisecond)
	if err == nil {
		_ = c.Close()
		t.Skipf("something on this host's network answers for %s", nobody)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		t.Skipf("something on this host's network refuses for %s", nobody)
	}
	n := openNetwork(t, netstack.Config{Limits: netstack.Limits{DialTimeout: 200 * time.Millisecond}}, nil)
	g := newGuest(t, n, "192.168.127.2")
	to := netip.MustParseAddrPort(nobody)
	if c, err := g.dial(to); err == nil {
		_ = c.Close()
		t.Error("connected to nobody")
	}
	if src, msg := g.nextICMP(); src != to.Addr() || msg[0] != 3 {
		t.Errorf("answer from %s type %d code %d, want destination unreachable from %s", src, msg[0], msg[1], to.Addr())
	}
	if s := n.Stats(); s.Drops["dial-unreachable"] == 0 || s.TCP.Open != 0 {
		t.Errorf("stats: %+v, want dial-unreachable", s)
	}
}
