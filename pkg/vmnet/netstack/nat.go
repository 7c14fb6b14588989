package netstack

import (
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A flowKey names a flow of datagrams: UDP with both ports, or ICMP echo with the
// identifier as the guest's port.
type flowKey struct{ guest, dst netip.AddrPort }

// A natFlow is a flow of datagrams with its host socket S.
type natFlow[S io.Closer] struct {
	key  flowKey
	idle time.Duration
	sock S
	// last is when the last datagram came, either way, after epoch: the machine's
	// clock may jump, and what is counted from an instant does not.
	last  atomic.Int64 // nanoseconds
	epoch time.Time
}

func (f *natFlow[S]) touch() { f.last.Store(int64(time.Since(f.epoch))) }

// A natTable holds the flows of one protocol within their limits.
type natTable[S io.Closer] struct {
	perGuest, limit int
	count           *counters
	epoch           time.Time // from which the flows count
	g               *gateway  // whose flows have sockets of the host; nil: those of this table have none

	mu     sync.RWMutex // guards all following fields
	closed bool
	total  uint64
	flows  map[flowKey]*natFlow[S]
	guests map[netip.Addr]int
}

func newNATTable[S io.Closer](perGuest, limit int, c *counters, g *gateway) *natTable[S] {
	return &natTable[S]{
		perGuest: perGuest, limit: limit, count: c, epoch: time.Now(), g: g,
		flows: make(map[flowKey]*natFlow[S]), guests: make(map[netip.Addr]int),
	}
}

// reserve takes a socket of the host for a flow of guest: one of the guest's own flows
// makes room if there is none. Without room it counts that and reports false.
func (t *natTable[S]) reserve(guest netip.Addr) bool {
	s, o := t.g.cfg.sockets, owner{t.g, guest}
	if s.Take(o) {
		return true
	}
	t.mu.Lock()
	if t.guests[guest] > 0 {
		t.evictLocked(guest, true)
	}
	t.mu.Unlock()
	ok := s.Take(o)
	if !ok {
		t.count.drop(SocketLimit)
	}
	return ok
}

// unreserve gives a socket back that no flow got, or whose flow has ended.
func (t *natTable[S]) unreserve(guest netip.Addr) {
	if t.g != nil {
		t.g.cfg.sockets.Give(owner{t.g, guest})
	}
}

// get returns the flow of k, now in use, or nil.
func (t *natTable[S]) get(k flowKey) *natFlow[S] {
	t.mu.RLock()
	f := t.flows[k]
	t.mu.RUnlock()
	if f != nil {
		f.touch()
	}
	return f
}

// add puts f, whose socket is reserved, into the table and ends the flow unused longest where a limit says
// so: one of the same guest if it has any. It reports false, and does not take
// f, when the table is closed or has the flow already.
func (t *natTable[S]) add(f *natFlow[S]) bool {
	f.epoch = t.epoch
	f.touch()
	guest := f.key.guest.Addr()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.flows[f.key] != nil {
		return false
	}
	own := t.guests[guest]
	if own >= t.perGuest || len(t.flows) >= t.limit {
		t.evictLocked(guest, own > 0)
	}
	t.flows[f.key] = f
	t.guests[guest]++
	t.total++
	return true
}

// evictLocked ends the flow unused longest, of guest or of all.
func (t *natTable[S]) evictLocked(guest netip.Addr, own bool) {
	var oldest *natFlow[S]
	for _, f := range t.flows {
		if own && f.key.guest.Addr() != guest {
			continue
		}
		if oldest == nil || f.last.Load() < oldest.last.Load() {
			oldest = f
		}
	}
	if oldest != nil {
		t.removeLocked(oldest)
		t.count.drop(FlowEvicted)
	}
}

// remove ends f. It is idempotent.
func (t *natTable[S]) remove(f *natFlow[S]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeLocked(f)
}

func (t *natTable[S]) removeLocked(f *natFlow[S]) {
	if t.flows[f.key] != f {
		return
	}
	delete(t.flows, f.key)
	guest := f.key.guest.Addr()
	if t.guests[guest]--; t.guests[guest] == 0 {
		delete(t.guests, guest)
	}
	_ = f.sock.Close() // ends its reader; nothing was promised to arrive
	t.unreserve(guest)
}

func (t *natTable[S]) endWhere(which func(*natFlow[S]) bool) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.flows {
		if which(f) {
			t.removeLocked(f)
			n++
		}
	}
	return n
}

func (t *natTable[S]) endGuest(guest netip.Addr) {
	t.endWhere(func(f *natFlow[S]) bool { return f.key.guest.Addr() == guest })
}

// endAll ends all flows and refuses later ones.
func (t *natTable[S]) endAll() {
	t.endWhere(func(*natFlow[S]) bool { return true })
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.endWhere(func(*natFlow[S]) bool { return true })
}

func (t *natTable[S]) expire(now time.Time) {
	n := t.endWhere(func(f *natFlow[S]) bool { return f.last.Load() < int64(now.Sub(t.epoch)-f.idle) })
	t.count.dropN(FlowIdle, n)
}

func (t *natTable[S]) stats() FlowStats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return FlowStats{Open: len(t.flows), Total: t.total}
}
