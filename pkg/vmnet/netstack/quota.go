package netstack

import (
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// A quota counts what guests hold of something, the host's sockets for instance. One
// guest has a quarter of it at most, so that no guest takes it all.
type quota struct {
	limit, perGuest int

	mu     sync.Mutex // guards all following
	used   int
	guests map[owner]int
}

// An owner is a guest, or a gateway for itself.
type owner struct {
	g     *gateway
	guest netip.Addr // zero: the gateway
}

func newQuota(limit int) *quota {
	return &quota{limit: limit, perGuest: max(1, limit/4), guests: make(map[owner]int)}
}

// take takes one, if there is one for o.
func (q *quota) take(o owner) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used >= q.limit || q.guests[o] >= q.perGuest {
		return false
	}
	q.used++
	q.guests[o]++
	return true
}

// give gives one back.
func (q *quota) give(o owner) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used--
	if q.guests[o]--; q.guests[o] == 0 {
		delete(q.guests, o)
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
