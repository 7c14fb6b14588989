package server

import (
	"net"
	"sync"
)

// A limitedListener accepts at most cap(slots) connections at once; others wait
// in the backlog. Of one user, unless it is root or the shim's own, it has at most
// each, so that nobody else waits for that user: further ones are closed.
type limitedListener struct {
	*net.UnixListener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
	own    uint32 // the shim's user
	each   int

	mu sync.Mutex // guards by
	by map[uint32]int
}

func limitListener(l *net.UnixListener, n int, own uint32) *limitedListener {
	return &limitedListener{
		UnixListener: l, slots: make(chan struct{}, n), closed: make(chan struct{}),
		own: own, each: max(1, n/4), by: map[uint32]int{},
	}
}

// Accept waits for a free slot and a connection.
func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			<-l.slots
			return nil, err
		}
		uid, err := peerUID(c)
		if err == nil && l.enter(uid) {
			return &limitedConn{Conn: c, free: func() { l.leave(uid); <-l.slots }}, nil
		}
		_ = c.Close() // nobody is to be told
	}
}

// enter counts a connection of the user, if it may have one more.
func (l *limitedListener) enter(uid uint32) bool {
	if uid == 0 || uid == l.own {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by[uid] >= l.each {
		return false
	}
	l.by[uid]++
	return true
}

func (l *limitedListener) leave(uid uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by[uid]--; l.by[uid] <= 0 {
		delete(l.by, uid)
	}
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
