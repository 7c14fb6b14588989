package relay

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// socketBuffer is what the relay asks for the buffers of sockets that it makes
// or is given to listen on, in bytes; the system may grant less. On Linux the
// sender's buffer bounds what is on its way, on macOS the receiver's.
const socketBuffer = 4 << 20

// acceptPause is how long the listener rests when accepting fails, for want of
// descriptors most likely.
const acceptPause = 50 * time.Millisecond

// ListenStream takes peers from l. It owns l, also when it fails; the socket's
// file is the caller's to remove.
func (r *Relay) ListenStream(l *net.UnixListener) error {
	l.SetUnlinkOnClose(false)
	if !r.start(l, func() { r.accept(l) }) {
		_ = l.Close()
		return fmt.Errorf("relay: listen: %w", net.ErrClosed)
	}
	return nil
}

// accept takes connections until l is closed.
func (r *Relay) accept(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		switch {
		case err == nil:
			r.welcome(c)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			time.Sleep(acceptPause)
		}
	}
}

// welcome makes the connection the peer if the place is free, or closes it.
func (r *Relay) welcome(c *net.UnixConn) {
	_ = c.SetWriteBuffer(socketBuffer) // less is slower, not wrong
	_ = c.SetReadBuffer(socketBuffer)
	s, err := newSock(c, r.MaxMessage())
	if err != nil {
		return // c was closed under our hands
	}
	p := newStreamPort(s)
	if old, ok := r.vacant(); ok {
		release := func() {}
		if r.cfg.Hold != nil {
			release = r.cfg.Hold(s.conn)
		}
		if r.admit(p, KindStream, old, false, release) {
			return
		}
		if !r.closing.Load() {
			release()
		}
	}
	r.refused.Add(1)
	_ = p.Close()
}
