package ipam

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// A span is a run of addresses that a pool gives, both ends included.
type span struct {
	first, last netip.Addr
	bits        int // length of the subnet
}

// A layout is what a pool gives: its ranges without the holes, in the order in
// which they are used. The spans do not overlap.
type layout []span

// layout checks the pool and returns its spans.
func (p Pool) layout() (layout, error) {
	if err := p.checkNames(); err != nil {
		return nil, err
	}
	var l layout
	for i, r := range p.Ranges {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("pool %s: %w", p, err)
		}
		for _, other := range p.Ranges[:i] {
			if err := checkApart(r, other); err != nil {
				return nil, fmt.Errorf("pool %s: %w", p, err)
			}
		}
		l = r.appendSpans(l, p.Exclude)
	}
	if len(l) == 0 {
		return nil, fmt.Errorf("pool %s: no address is left to give: %w", p, ErrInvalid)
	}
	return l, nil
}

func (p Pool) checkNames() error {
	if p.Network == "" {
		return fmt.Errorf("pool network: want one, have none: %w", ErrInvalid)
	}
	if err := checkName("pool network", p.Network); err != nil {
		return err
	}
	if err := checkName("pool name", p.Name); err != nil {
		return err
	}
	if len(p.Ranges) == 0 {
		return fmt.Errorf("pool %s: want a range, have none: %w", p, ErrInvalid)
	}
	for _, x := range p.Exclude {
		if !x.IsValid() {
			return fmt.Errorf("pool %s: exclude %s: want a prefix: %w", p, x, ErrInvalid)
		}
	}
	return nil
}

// checkApart returns an error for two ranges that cannot be in one pool.
func checkApart(a, b Range) error {
	if a.Subnet.Addr().BitLen() != b.Subnet.Addr().BitLen() {
		return fmt.Errorf("ranges %s and %s: want one IP version: %w", a, b, ErrInvalid)
	}
	aFirst, aLast := a.bounds()
	bFirst, bLast := b.bounds()
	if aFirst.Compare(bLast) <= 0 && bFirst.Compare(aLast) <= 0 {
		return fmt.Errorf("ranges %s and %s overlap: %w", a, b, ErrInvalid)
	}
	return nil
}

// appendSpans appends what is left of r after its holes are cut out.
func (r Range) appendSpans(l layout, exclude []netip.Prefix) layout {
	first, last := r.bounds()
	for _, hole := range r.holes(exclude) {
		if last.Less(hole.first) {
			break
		}
		if hole.last.Less(first) {
			continue
		}
		if first.Less(hole.first) {
			l = append(l, span{first, hole.first.Prev(), r.Subnet.Bits()})
		}
		// Next of the highest address of all is invalid, which sorts lowest.
		if first = hole.last.Next(); !first.IsValid() {
			return l
		}
	}
	if first.Compare(last) <= 0 {
		l = append(l, span{first, last, r.Subnet.Bits()})
	}
	return l
}

// holes returns what the range never gives, by first address.
func (r Range) holes(exclude []netip.Prefix) []span {
	var holes []span
	for _, a := range [...]netip.Addr{r.Subnet.Masked().Addr(), r.gateway(), lastUsable(r.Subnet), lastAddr(r.Subnet)} {
		holes = append(holes, span{first: a, last: a})
	}
	for _, x := range exclude {
		if x.Overlaps(r.Subnet) {
			holes = append(holes, span{first: x.Masked().Addr(), last: lastAddr(x)})
		}
	}
	slices.SortFunc(holes, func(a, b span) int { return a.first.Compare(b.first) })
	return holes
}

// find returns the index of the span that holds a, or -1.
func (l layout) find(a netip.Addr) int {
	return slices.IndexFunc(l, func(s span) bool { return s.first.Compare(a) <= 0 && a.Compare(s.last) <= 0 })
}

// prefix returns a with its subnet's length, if the pool gives it.
func (l layout) prefix(a netip.Addr) (netip.Prefix, bool) {
	i := l.find(a)
	if i < 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, l[i].bits), true
}

// start returns the cursor at the first address.
func (l layout) start() Cursor { return Cursor{Addr: l[0].first} }

// next returns the cursor after a, which the pool gives.
func (l layout) next(a netip.Addr) Cursor {
	i := l.find(a)
	if i >= 0 && a != l[i].last {
		return Cursor{Addr: a.Next()}
	}
	if i < 0 || i+1 == len(l) {
		return Cursor{Done: true}
	}
	return Cursor{Addr: l[i+1].first}
}

// size returns how many addresses the pool gives, at most math.MaxInt64.
func (l layout) size() uint64 {
	var n uint64
	for _, s := range l {
		d := distance(s.first, s.last)
		if d >= math.MaxInt64 || n+d+1 >= math.MaxInt64 {
			return math.MaxInt64
		}
		n += d + 1
	}
	return n
}

// distance returns last minus first, at most math.MaxInt64.
func distance(first, last netip.Addr) uint64 {
	a, b := first.As16(), last.As16()
	low := binary.BigEndian.Uint64(b[8:]) - binary.BigEndian.Uint64(a[8:])
	if binary.BigEndian.Uint64(b[:8]) != binary.BigEndian.Uint64(a[:8]) || low > math.MaxInt64 {
		return math.MaxInt64
	}
	return low
}

// id returns a short text that differs between different layouts.
func (l layout) id() string {
	h := sha256.New()
	for _, s := range l {
		fmt.Fprintf(h, "%s-%s/%d,", s.first, s.last, s.bits)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
