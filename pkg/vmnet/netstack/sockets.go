package netstack

import (
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// sockets counts the host's sockets that the flows of guests have, in all networks of
// a driver. One guest has a quarter of them at most, so that no guest takes them all.
type sockets struct {
	limit, perGuest int

	mu     sync.Mutex // guards all following
	used   int
	guests map[socketOwner]int
}

// A socketOwner is a guest, or a gateway for itself.
type socketOwner struct {
	g     *gateway
	guest netip.Addr // zero: the gateway
}

func newSockets(limit int) *sockets {
	return &sockets{limit: limit, perGuest: max(1, limit/4), guests: make(map[socketOwner]int)}
}

// take takes one, if there is one for o.
func (s *sockets) take(o socketOwner) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used >= s.limit || s.guests[o] >= s.perGuest {
		return false
	}
	s.used++
	s.guests[o]++
	return true
}

// give gives one back, which is closed.
func (s *sockets) give(o socketOwner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	if s.guests[o]--; s.guests[o] == 0 {
		delete(s.guests, o)
	}
}

// defaultSockets is half of the descriptors that the process may have: the other half
// is for attachments.
func defaultSockets() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 1 << 19 // as if there were no limit
	}
	return max(1, int(min(r.Cur, 1<<20)/2))
}
