package server

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A caller is who sent a request, as the kernel tells it.
type caller struct{ uid uint32 }

// may reports whether the caller sees and changes what belongs to owner.
func (c caller) may(owner uint32) bool { return c.uid == 0 || c.uid == owner }

type callerKey struct{}

// withCaller puts the credentials of the peer, as they were when it connected,
// into the context of a connection's requests.
func withCaller(ctx context.Context, c net.Conn) context.Context {
	uid, err := peerUID(c)
	if err != nil {
		return ctx // callerOf then says so for every request
	}
	ctx = context.WithValue(ctx, connKey{}, c)
	return context.WithValue(ctx, callerKey{}, caller{uid})
}

type connKey struct{}

// clientGone reports whether the client of a request has closed its connection. The
// request's context ends then too, but some time later: too late to tell an ADD that
// was killed before its DEL came from one that is alive.
func clientGone(ctx context.Context) bool {
	c, _ := ctx.Value(connKey{}).(net.Conn)
	if l, ok := c.(*limitedConn); ok {
		c = l.Conn
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return false // a request of our own
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := [1]unix.PollFd{{Fd: int32(fd)}} // POLLHUP comes unasked (poll(2))
		n, err := unix.Poll(fds[:], 0)
		gone = err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return err != nil || gone
}

func callerOf(ctx context.Context) (caller, bool) {
	c, ok := ctx.Value(callerKey{}).(caller)
	return c, ok
}

// peerUID is shim.PeerUID for a connection of the API.
func peerUID(c net.Conn) (uint32, error) {
	if l, ok := c.(*limitedConn); ok {
		c = l.Conn
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("peer credentials: %T is not a unix socket", c)
	}
	return shim.PeerUID(u)
}
