package netstack_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

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
	n := openNetwork(t, netstack.Config{}, nil)
	g := newGuest(t, n, "192.168.127.2")
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr()
	_ = l.Close()
	start := time.Now()
	if c, err := g.dial(loopback(n, addr)); err == nil {
		_ = c.Close()
		t.Fatal("connected to a closed port")
	} else if took := time.Since(start); took > 2*time.Second {
		t.Errorf("refused after %s (%v), want at once", took, err)
	}
	if s := n.Stats(); s.Drops["dial-refused"] != 1 || s.TCP.Open != 0 {
		t.Errorf("stats: %+v, want one dial-refused", s)
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
