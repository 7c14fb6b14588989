package tap

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vmnet-cni/vmnet/internal/quota"
)

// Bounds of the guests' TCP connections to the forwarder.
const (
	maxConns      = 128 // of one network; more are closed
	maxGuestConns = 16  // of one address
	acceptPause   = 100 * time.Millisecond
	writeTimeout  = queryTimeout
)

// A gate is a listener for guests, which it does not trust: package dns accepts any
// number of connections, and waits without end for who does not read.
type gate struct {
	net.Listener
	ctx  context.Context // ends the connections
	open *quota.Quota[netip.Addr]
}

func newGate(ctx context.Context, l net.Listener) *gate {
	return &gate{Listener: l, ctx: ctx, open: quota.New[netip.Addr](maxConns, maxGuestConns)}
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil: // no descriptor, perhaps; the caller would ask again at once
			time.Sleep(acceptPause)
			return nil, err
		}
		who := hostOf(c.RemoteAddr())
		if !g.open.Take(who) {
			_ = c.Close() // nobody has used it
			continue
		}
		out := &guestConn{Conn: c}
		out.leave = sync.OnceFunc(func() { g.open.Give(who) })
		out.stop = context.AfterFunc(g.ctx, func() { _ = c.Close() }) // nothing is lost: the network ends
		return out, nil
	}
}

// hostOf is the IP address of a, which is one of TCP or UDP.
func hostOf(a net.Addr) netip.Addr {
	p, _ := a.(interface{ AddrPort() netip.AddrPort })
	if p == nil {
		return netip.Addr{}
	}
	return p.AddrPort().Addr().Unmap()
}

// A guestConn is a connection whose other end must read.
type guestConn struct {
	net.Conn
	leave func()
	stop  func() bool
}

// Write implements net.Conn.
func (c *guestConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *guestConn) Close() error {
	c.stop()
	defer c.leave()
	return c.Conn.Close()
}
