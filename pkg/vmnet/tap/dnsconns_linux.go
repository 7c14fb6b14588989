package tap

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Bounds of the guests' TCP connections to the forwarder.
const (
	maxConns     = 128 // of one network; more are closed
	maxGuest     = 16  // of one address
	acceptPause  = 100 * time.Millisecond
	writeTimeout = queryTimeout
)

// A gate is a listener for guests, which it does not trust: package dns accepts any
// number of connections, and waits without end for who does not read.
type gate struct {
	net.Listener
	ctx context.Context // ends the connections

	mu   sync.Mutex         // guards all following
	open map[netip.Addr]int // connections by who made them
	all  int
}

func newGate(ctx context.Context, l net.Listener) *gate {
	return &gate{Listener: l, ctx: ctx, open: map[netip.Addr]int{}}
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
		who := peerOf(c)
		if !g.enter(who) {
			_ = c.Close() // nobody has used it
			continue
		}
		out := &guestConn{Conn: c}
		out.leave = sync.OnceFunc(func() { g.exit(who) })
		out.stop = context.AfterFunc(g.ctx, func() { _ = c.Close() }) // nothing is lost: the network ends
		return out, nil
	}
}

func peerOf(c net.Conn) netip.Addr {
	a, _ := c.RemoteAddr().(*net.TCPAddr)
	if a == nil {
		return netip.Addr{}
	}
	return a.AddrPort().Addr().Unmap()
}

func (g *gate) enter(who netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= maxConns || g.open[who] >= maxGuest {
		return false
	}
	g.all++
	g.open[who]++
	return true
}

func (g *gate) exit(who netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.open[who]--; g.open[who] == 0 {
		delete(g.open, who)
	}
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
