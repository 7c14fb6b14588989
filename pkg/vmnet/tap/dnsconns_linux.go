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
	open *tally
}

func newGate(ctx context.Context, l net.Listener) *gate {
	return &gate{Listener: l, ctx: ctx, open: newTally(maxConns, maxGuestConns)}
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
		if !g.open.enter(who) {
			_ = c.Close() // nobody has used it
			continue
		}
		out := &guestConn{Conn: c}
		out.leave = sync.OnceFunc(func() { g.open.exit(who) })
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

// A tally bounds how much there is of something, in all and of each guest, so that no
// guest takes it from the others.
type tally struct {
	all, each int // bounds

	mu sync.Mutex         // guards all following
	n  int                // in all
	of map[netip.Addr]int // of each guest that has some
}

func newTally(all, each int) *tally { return &tally{all: all, each: each, of: map[netip.Addr]int{}} }

// enter counts one more, or reports that there is no room.
func (t *tally) enter(who netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n >= t.all || t.of[who] >= t.each {
		return false
	}
	t.n++
	t.of[who]++
	return true
}

// exit counts one less.
func (t *tally) exit(who netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	if t.of[who]--; t.of[who] == 0 {
		delete(t.of, who)
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
