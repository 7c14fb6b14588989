package ipam

import (
	"fmt"
	"iter"
	"net/netip"
	"time"
)

// A View is what Choose sees of a pool's addresses. It does not change while
// Choose looks.
type View interface {
	// Holder returns who holds a, if anybody does.
	Holder(a netip.Addr) (Key, bool)
	// Released reports whether a is remembered as released.
	Released(a netip.Addr) bool
	// Sticky returns the address last released under a sticky key, whoever has it
	// now.
	Sticky(key string) (netip.Addr, bool)
	// Oldest yields the released addresses and when each was released, the one
	// released longest ago first.
	Oldest() iter.Seq2[netip.Addr, time.Time]
	// Elsewhere returns, of the addresses of so many bits that other pools of the
	// network released and for which gives is true, the one released longest ago,
	// and when. Pools with different ranges of one subnet may share addresses.
	Elsewhere(bits int, gives func(netip.Addr) bool) (netip.Addr, time.Time, bool)
	// Now is the time of the decision.
	Now() time.Time
	// Cursor returns where the never used addresses begin.
	Cursor() Cursor
}

// A Cursor is the place in a pool before which no address is left that was never
// used. The zero Cursor is the begin of the pool.
type Cursor struct {
	// Addr is the next address to look at. Zero: the pool's first.
	Addr netip.Addr
	// Done says that no address was never used.
	Done bool
	// Lost says that addresses before the cursor were released and forgotten
	// since the cursor was last at the begin.
	Lost bool
}

// A Choice is what Choose decided: the address, and what the store should know
// for the next time.
type Choice struct {
	// Addr is the address with its subnet's length.
	Addr netip.Prefix
	// Cursor is where never used addresses now begin. It may have moved even
	// when no address was found.
	Cursor Cursor
	// Stale holds released addresses that the pool does not give any more, to be
	// forgotten.
	Stale []netip.Addr
	// Early says that the address comes before its quarantine is over, since
	// nothing else was free.
	Early bool
}

// Choose decides which address of p the request gets, as the package comment
// tells. It has no effect. The error is an OutsideError, a TakenError, an
// ExhaustedError, or wraps ErrInvalid.
func Choose(p Pool, v View, req Request) (Choice, error) {
	l, err := p.layout()
	if err != nil {
		return Choice{}, err
	}
	c := Choice{Cursor: v.Cursor()}
	want, err := p.wanted(l, req)
	if err != nil {
		return c, err
	}
	if want.IsValid() {
		by, held := v.Holder(want)
		switch {
		case !held:
			c.take(l, v, want)
			return c, nil
		case by != req.Key:
			return c, &TakenError{Addr: want, By: by}
		}
		// Another pool of the request has given it.
	}
	if a, ok := v.Sticky(req.stickyKey()); ok && c.take(l, v, a) {
		return c, nil
	}
	if c.advance(l, v) {
		return c, nil
	}
	return c.reuse(p, l, v, req)
}

// wanted returns the one of the request's wanted addresses that is for p, or the
// zero Addr. An address that p has in a subnet but does not give may be another
// pool's of the request.
func (p Pool) wanted(l layout, req Request) (netip.Addr, error) {
	var mine netip.Addr
	for _, a := range req.Want {
		switch {
		case l.find(a) < 0 && p.contains(a) && !givenByAny(req.Pools, a):
			return a, &OutsideError{Addr: a, Pools: []Pool{p}, Reason: p.Reserved(a)}
		case l.find(a) < 0:
		case mine.IsValid() && mine != a:
			return a, fmt.Errorf("addresses %s and %s: want at most one of pool %s: %w", mine, a, p, ErrInvalid)
		default:
			mine = a
		}
	}
	return mine, nil
}

// givenByAny reports whether one of the pools gives a.
func givenByAny(pools []Pool, a netip.Addr) bool {
	for _, p := range pools {
		if p.contains(a) && p.Reserved(a) == "" {
			return true
		}
	}
	return false
}

// take chooses a if the pool gives it and nobody has it.
func (c *Choice) take(l layout, v View, a netip.Addr) bool {
	addr, ok := l.prefix(a)
	if !ok {
		return false
	}
	if _, held := v.Holder(a); held {
		return false
	}
	c.Addr = addr
	return true
}

// advance moves the cursor to the first address that is neither held nor
// remembered, chooses it, and leaves the cursor behind it.
func (c *Choice) advance(l layout, v View) bool {
	if c.Cursor.Done && !c.Cursor.Lost {
		return false
	}
	lost := c.Cursor.Lost
	if c.Cursor.Done { // round once more, to find what was forgotten
		c.Cursor, lost = l.start(), false
	}
	if l.find(c.Cursor.Addr) < 0 { // the zero Cursor, too
		c.Cursor = l.start()
	}
	for !c.Cursor.Done {
		a := c.Cursor.Addr
		c.Cursor = l.next(a)
		c.Cursor.Lost = lost
		if !v.Released(a) && c.take(l, v, a) {
			return true
		}
	}
	return false
}

// reuse chooses the address released longest ago: of this pool, or of another of
// the network where this one has none whose quarantine is over.
func (c Choice) reuse(p Pool, l layout, v View, req Request) (Choice, error) {
	rest := func(since time.Time) time.Duration {
		return req.Quarantine - max(v.Now().Sub(since), 0) // a clock may go back
	}
	since, ok := c.oldest(l, v)
	if !ok || rest(since) > 0 {
		a, other, found := v.Elsewhere(l[0].first.BitLen(), func(a netip.Addr) bool {
			_, held := v.Holder(a) // by another pool of the request, that is
			return l.find(a) >= 0 && !held
		})
		if found && (!ok || other.Before(since)) {
			since, ok = other, c.take(l, v, a)
		}
	}
	switch {
	case !ok:
		return c, &ExhaustedError{Pool: p, Size: l.size()}
	case rest(since) <= 0:
		return c, nil
	case req.WholeQuarantine:
		err := &ExhaustedError{Pool: p, Size: l.size(), Next: c.Addr.Addr(), Wait: rest(since)}
		c.Addr = netip.Prefix{}
		return c, err
	}
	c.Early = true
	return c, nil
}

// oldest chooses the address that the pool released longest ago, and returns when.
func (c *Choice) oldest(l layout, v View) (since time.Time, ok bool) {
	for a, since := range v.Oldest() {
		if c.take(l, v, a) {
			return since, true
		}
		c.Stale = append(c.Stale, a)
	}
	return since, false
}
