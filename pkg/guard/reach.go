package guard

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A prefix6 is an IPv6 prefix.
type prefix6 struct{ addr, mask addr6 }

func toPrefix6(p netip.Prefix) prefix6 {
	var m prefix6
	m.addr = toAddr6(p.Masked().Addr())
	n := p.Bits()
	m.mask.hi = ^uint64(0) << (64 - min(n, 64)) // a shift by 64 is zero in Go
	m.mask.lo = ^uint64(0) << (64 - max(n-64, 0))
	return m
}

func (p prefix6) contains(a addr6) bool {
	return a.hi&p.mask.hi == p.addr.hi && a.lo&p.mask.lo == p.addr.lo
}

// A prefix4 is an IPv4 prefix.
type prefix4 struct{ addr, mask uint32 }

func toPrefix4(p netip.Prefix) prefix4 {
	return prefix4{be.Uint32(p.Masked().Addr().AsSlice()), ^uint32(0) << (32 - p.Bits())}
}

func (p prefix4) contains(a uint32) bool { return a&p.mask == p.addr }

// A rule is about the destinations in one prefix.
type rule[A comparable] struct {
	in interface{ contains(a A) bool }
	ok bool
}

// A reach says which destinations of one family a guest may reach. Most packets
// go where the last one went.
type reach[A comparable] struct {
	rules []rule[A] // the first that contains the destination decides
	rest  bool      // what no rule contains

	known bool // last is set
	last  A
	lastA bool // the answer
}

// may reports whether the guest may reach a.
func (r *reach[A]) may(a A) bool {
	if r.known && r.last == a {
		return r.lastA
	}
	r.known, r.last, r.lastA = true, a, r.decide(a)
	return r.lastA
}

func (r *reach[A]) decide(a A) bool {
	for i := range r.rules {
		if r.rules[i].in.contains(a) {
			return r.rules[i].ok
		}
	}
	return r.rest
}

// What the network itself needs, in every list.
var (
	always4 = []string{"255.255.255.255/32"}
	always6 = []string{"fe80::/10", "ff01::/16", "ff02::/16"}
)

// newReach4 returns nil when every IPv4 destination is allowed.
func newReach4(what vmnet.Guard, local []netip.Prefix) *reach[uint32] {
	return newReach(what, local, always4, netip.Addr.Is4, func(p netip.Prefix) interface{ contains(uint32) bool } { return toPrefix4(p) })
}

// newReach6 returns nil when every IPv6 destination is allowed.
func newReach6(what vmnet.Guard, local []netip.Prefix) *reach[addr6] {
	return newReach(what, local, always6, netip.Addr.Is6, func(p netip.Prefix) interface{ contains(addr6) bool } { return toPrefix6(p) })
}

func newReach[A comparable](what vmnet.Guard, local []netip.Prefix, always []string, family func(netip.Addr) bool, to func(netip.Prefix) interface{ contains(A) bool }) *reach[A] {
	other := func(p netip.Prefix) bool { return !p.IsValid() || !family(p.Addr()) }
	allow := slices.DeleteFunc(slices.Clone(what.Allow), other)
	deny := slices.DeleteFunc(slices.Clone(what.Deny), other)
	if len(deny) == 0 && !slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Bits() > 0 }) {
		return nil
	}
	r := &reach[A]{rest: len(allow) == 0}
	for _, p := range slices.DeleteFunc(slices.Clone(local), other) {
		r.rules = append(r.rules, rule[A]{to(p), true})
	}
	for _, text := range always {
		r.rules = append(r.rules, rule[A]{to(netip.MustParsePrefix(text)), true})
	}
	// A stable sort: of equal prefixes the one of deny comes first.
	lists := slices.Concat(deny, allow)
	index := make([]int, len(lists))
	for i := range index {
		index[i] = i
	}
	slices.SortStableFunc(index, func(a, b int) int { return cmp.Compare(lists[b].Bits(), lists[a].Bits()) })
	for _, i := range index {
		r.rules = append(r.rules, rule[A]{to(lists[i]), i >= len(deny)})
	}
	return r
}
