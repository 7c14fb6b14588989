package server

import (
	"net"
	"sync"
)

// A limitedListener accepts at most cap(slots) connections at once; others wait
// in the backlog.
type limitedListener struct {
	*net.UnixListener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func limitListener(l *net.UnixListener, n int) *limitedListener {
	return &limitedListener{UnixListener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

// Accept waits for a free slot and a connection.
func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.AcceptUnix()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, free: func() { <-l.slots }}, nil
}

// Close is idempotent and ends a waiting Accept.
func (l *limitedListener) Close() (err error) {
	l.once.Do(func() {
		close(l.closed)
		err = l.UnixListener.Close()
	})
	return err
}

// A limitedConn gives its slot back when it is closed.
type limitedConn struct {
	net.Conn
	once sync.Once
	free func()
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.free)
	return err
}
