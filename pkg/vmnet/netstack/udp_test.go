package netstack_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// listenUDP echoes datagrams on the host's loopback until the test ends.
func listenUDP(t testing.TB) net.Addr {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(buf[:n], from)
		}
	}()
	t.Cleanup(func() {
		_ = c.Close()
		<-done
	})
	return c.LocalAddr()
}

// TestUDPEcho sends datagrams of all sizes; the long ones travel as fragments.
func TestUDPEcho(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	c := newGuest(t, n, "192.168.127.2").dialUDP(loopback(n, listenUDP(t)))
	buf := make([]byte, 64<<10)
	for _, size := range []int{1, 0, 100, 1472, 1473, 9000, 65507} {
		data := bytes.Repeat([]byte{0x5a}, size)
		if _, err := c.Write(data); err != nil {
			t.Fatalf("write %d bytes: %v", size, err)
		}
		k, err := c.Read(buf)
		if err != nil || !bytes.Equal(buf[:k], data) {
			t.Fatalf("echo of %d bytes: %d, %v", size, k, err)
		}
	}
	if s := n.Stats().UDP; s.Open != 1 || s.Total != 1 {
		t.Errorf("flows: %+v, want one", s)
	}
}

// TestUDPRefused checks that the host's "port unreachable" reaches the guest.
func TestUDPRefused(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	g := newGuest(t, n, "192.168.127.2")
	addr := netip.AddrPortFrom(n.Info().HostLoopbackAddr, freePort(t).Port())
	c := g.dialUDP(addr)
	if _, err := c.Write([]byte("anybody there?")); err != nil {
		t.Fatal(err)
	}
	if src, msg := g.nextICMP(); src != addr.Addr() || msg[0] != 3 || msg[1] != 3 {
		t.Errorf("answer from %s type %d code %d, want port unreachable from %s", src, msg[0], msg[1], addr.Addr())
	}
}

// TestUDPIdle checks that a silent flow ends, and that the next datagram makes a
// new one.
func TestUDPIdle(t *testing.T) {
	n := openNetwork(t, netstack.Config{Limits: netstack.Limits{UDPIdle: 50 * time.Millisecond}}, nil)
	c := newGuest(t, n, "192.168.127.2").dialUDP(loopback(n, listenUDP(t)))
	for range 2 {
		before := n.Stats().UDP.Total
		wait(t, "the echo", func() bool { // is lost when it takes longer than a flow lives
			if _, err := fmt.Fprint(c, "ping"); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			_, err := c.Read(make([]byte, 16))
			return err == nil
		})
		wait(t, "the idle flow to end", func() bool {
			s := n.Stats()
			return s.UDP.Open == 0 && s.UDP.Total > before && s.Drops["flow-idle"] == s.UDP.Total
		})
	}
}

// TestUDPLimit opens more flows than a guest may have: the oldest make room.
func TestUDPLimit(t *testing.T) {
	const limit = 4
	n := openNetwork(t, netstack.Config{Limits: netstack.Limits{UDPPerGuest: limit}}, nil)
	g := newGuest(t, n, "192.168.127.2")
	to := loopback(n, listenUDP(t))
	buf := make([]byte, 16)
	for range 2 * limit {
		c := g.dialUDP(to)
		if _, err := fmt.Fprint(c, "ping"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, "as many evicted as are open", func() bool {
		s := n.Stats()
		return s.UDP.Open == limit && s.Drops["flow-evicted"] == limit
	})
}

// wait polls until ok, or fails the test.
func wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}
