package guard

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// An addr6 is an IPv6 address.
type addr6 struct{ hi, lo uint64 }

func readAddr(b []byte) addr6 { return addr6{be.Uint64(b), be.Uint64(b[8:])} }

func toAddr6(a netip.Addr) addr6 {
	b := a.As16()
	return readAddr(b[:])
}

// linkLocal reports whether the address is in fe80::/10.
func (a addr6) linkLocal() bool { return a.hi>>54 == 0xfe80>>6 }

// Claims say who has which IPv6 address in one network, of those that nobody gave
// out: the first guest that uses one (as RFC 6620 does it). An address that was
// given out, or that follows from a guest's MAC, is that guest's, whoever used it
// before. Claims do not outlive the shim: after a restart those who send first are
// the first.
type Claims struct {
	taken atomic.Uint64 // how often somebody lost an address

	mu sync.Mutex // guards by
	by map[addr6]*Guard
}

// NewClaims returns claims of a network, in which reserved belong to no guest: the
// gateway's addresses.
func NewClaims(reserved ...netip.Addr) *Claims {
	c := &Claims{by: map[addr6]*Guard{}}
	for _, a := range reserved {
		if a.Is6() && !a.Is4In6() {
			c.by[toAddr6(a)] = nil
		}
	}
	return c
}

// take makes an address that was given to g its own.
func (c *Claims) take(a addr6, g *Guard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	owner, known := c.by[a]
	if known && (owner == nil || owner == g) {
		return
	}
	c.by[a] = g
	if known {
		c.taken.Add(1) // the loser looks again
	}
}

// claim reports whether g may use an address, and makes it its own then.
func (c *Claims) claim(a addr6, g *Guard) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if owner, known := c.by[a]; known {
		return owner == g
	}
	c.by[a] = g
	return true
}

// forget gives up one address of g.
func (c *Claims) forget(a addr6, g *Guard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[a] == g {
		delete(c.by, a)
	}
}

// release gives up everything of g.
func (c *Claims) release(g *Guard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for a, owner := range c.by {
		if owner == g {
			delete(c.by, a)
		}
	}
}

// maxLearned is how many addresses of its own making a guest has: a link-local
// one, a stable one, and the temporary ones of a week (RFC 8981, section 3.8).
// With one more the one that was not used for longest is given up.
const maxLearned = 16

// own6 are the IPv6 addresses of a guest.
type own6 struct {
	g      *Guard
	claims *Claims
	fixed  []addr6 // its MAC's link-local one first
	free   []prefix6

	taken   uint64 // Claims.taken when learned was right
	learned [maxLearned]addr6
	used    [maxLearned]uint64 // when, on clock; 0: the place is free
	clock   uint64
}

func (o *own6) init(g *Guard, claims *Claims, what vmnet.Guard, mac net.HardwareAddr) {
	o.g, o.claims = g, claims
	hw := hardware(mac) ^ 0x0200_0000_0000 // RFC 4291, appendix A
	o.fixed = []addr6{{hi: 0xfe80 << 48, lo: hw>>24<<40 | 0xfffe<<24 | hw&0xff_ffff}}
	for _, a := range what.Addrs {
		if a.Is6() && !a.Is4In6() {
			o.fixed = append(o.fixed, toAddr6(a))
		}
	}
	for _, p := range what.Free {
		if p.Addr().Is6() {
			o.free = append(o.free, toPrefix6(p))
		}
	}
	if what.IP {
		for _, a := range o.fixed {
			claims.take(a, g)
		}
	}
	o.taken = claims.taken.Load()
}

// has reports whether the guest may use an address.
func (o *own6) has(a addr6) bool {
	for _, own := range o.fixed {
		if own == a {
			return true
		}
	}
	if now := o.claims.taken.Load(); now != o.taken {
		o.taken = now
		o.again()
	}
	o.clock++
	for i := range o.learned {
		if o.learned[i] == a && o.used[i] != 0 {
			o.used[i] = o.clock
			return true
		}
	}
	return o.learn(a)
}

// learn makes an address of the guest's making its own.
func (o *own6) learn(a addr6) bool {
	if !a.linkLocal() && !o.isFree(a) || !o.claims.claim(a, o.g) {
		return false
	}
	place := 0
	for i := range o.used {
		if o.used[i] < o.used[place] {
			place = i
		}
	}
	if o.used[place] != 0 {
		o.claims.forget(o.learned[place], o.g)
	}
	o.learned[place], o.used[place] = a, o.clock
	return true
}

// again forgets what others have been given since.
func (o *own6) again() {
	for i := range o.learned {
		if o.used[i] != 0 && !o.claims.claim(o.learned[i], o.g) {
			o.used[i] = 0
		}
	}
}

func (o *own6) isFree(a addr6) bool {
	for _, p := range o.free {
		if p.contains(a) {
			return true
		}
	}
	return false
}
