package ipam

import (
	"fmt"
	"net/netip"
	"strings"
)

// A Pool is a set of addresses that attachments of one network get. A network
// may have several, such as one for each IP version; an attachment gets an
// address from each. A Pool is a value: it may be copied and is never changed.
type Pool struct {
	// Network names the network. Addresses are unique within it.
	Network string
	// Name tells the pools of a network apart. It may be empty.
	Name string
	// Ranges are where the addresses come from; a later one is used when those
	// before it have none left that was never used. They are of one IP version
	// and do not overlap.
	Ranges []Range
	// Exclude holds addresses that are never given.
	Exclude []netip.Prefix
}

// A Range is a run of addresses in a subnet.
type Range struct {
	// Subnet has at least four usable addresses: an IPv4 /29, an IPv6 /125.
	Subnet netip.Prefix
	// First and Last bound the range, both included. Zero: the first and last
	// usable address of Subnet.
	First, Last netip.Addr
	// Gateway is never given. Zero: the first usable address of Subnet.
	Gateway netip.Addr
}

// SubnetPool returns the pool of a whole subnet. A zero gateway is the subnet's
// first usable address.
func SubnetPool(network string, subnet netip.Prefix, gateway netip.Addr) Pool {
	return Pool{Network: network, Ranges: []Range{{Subnet: subnet, Gateway: gateway}}}
}

// String returns the pool's network, name and subnets, for messages.
func (p Pool) String() string {
	var b strings.Builder
	b.WriteString(p.Network)
	if p.Name != "" {
		b.WriteString("/" + p.Name)
	}
	for i, r := range p.Ranges {
		b.WriteString([]string{" ", ", "}[min(i, 1)])
		b.WriteString(r.String())
	}
	return b.String()
}

// String returns the subnet, and the bounds if they are not the subnet's.
func (r Range) String() string {
	if !r.First.IsValid() && !r.Last.IsValid() {
		return r.Subnet.String()
	}
	first, last := r.bounds()
	return fmt.Sprintf("%s (%s-%s)", r.Subnet, first, last)
}

func poolList(pools []Pool) string {
	names := make([]string, len(pools))
	for i, p := range pools {
		names[i] = "pool " + p.String()
	}
	return strings.Join(names, ", ")
}

// Check returns an error that wraps ErrInvalid and names the value at fault, or
// nil.
func (p Pool) Check() error {
	_, err := p.layout()
	return err
}

// Reserved returns why the pool never gives a, which is in one of its subnets:
// "is the gateway", for example. It returns "" when the pool gives a.
func (p Pool) Reserved(a netip.Addr) string {
	for _, r := range p.Ranges {
		if r.Subnet.Contains(a) {
			if why := r.reserved(a); why != "" {
				return why
			}
		}
	}
	for _, x := range p.Exclude {
		if x.Contains(a) {
			return "is excluded by " + x.String()
		}
	}
	for _, r := range p.Ranges {
		if first, last := r.bounds(); r.Subnet.Contains(a) && first.Compare(a) <= 0 && a.Compare(last) <= 0 {
			return ""
		}
	}
	return "is out of range"
}

func (r Range) reserved(a netip.Addr) string {
	switch a {
	case r.Subnet.Masked().Addr():
		return "is the network's own"
	case r.gateway():
		return "is the gateway"
	case lastUsable(r.Subnet):
		return "is reserved for the host"
	}
	if a == lastAddr(r.Subnet) {
		return "is the broadcast address"
	}
	return ""
}

// contains reports whether a is in one of the pool's subnets.
func (p Pool) contains(a netip.Addr) bool {
	for _, r := range p.Ranges {
		if r.Subnet.Contains(a) {
			return true
		}
	}
	return false
}

func (r Range) gateway() netip.Addr {
	if r.Gateway.IsValid() {
		return r.Gateway
	}
	return r.Subnet.Masked().Addr().Next()
}

// bounds returns First and Last with their defaults.
func (r Range) bounds() (first, last netip.Addr) {
	first, last = r.First, r.Last
	if !first.IsValid() {
		first = r.Subnet.Masked().Addr().Next()
	}
	if !last.IsValid() {
		last = lastUsable(r.Subnet)
	}
	return first, last
}

// check returns an error that wraps ErrInvalid for a range that cannot be.
func (r Range) check() error {
	if !r.Subnet.IsValid() || r.Subnet.Addr().Is4In6() {
		return fmt.Errorf("subnet %s: want an IPv4 or IPv6 prefix: %w", r.Subnet, ErrInvalid)
	}
	if most := r.Subnet.Addr().BitLen() - 3; r.Subnet.Bits() > most {
		return fmt.Errorf("subnet %s: want a length of at most %d, so that an address is left for a guest: %w",
			r.Subnet, most, ErrInvalid)
	}
	for _, a := range [...]struct {
		name string
		addr netip.Addr
	}{{"first", r.First}, {"last", r.Last}, {"gateway", r.Gateway}} {
		if a.addr.IsValid() && !r.Subnet.Contains(a.addr) {
			return fmt.Errorf("%s %s: want an address in %s: %w", a.name, a.addr, r.Subnet, ErrInvalid)
		}
	}
	if first, last := r.bounds(); last.Less(first) {
		return fmt.Errorf("range %s-%s: want the first address before the last: %w", first, last, ErrInvalid)
	}
	return nil
}

// lastAddr returns the last address of p.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// lastUsable returns the last address of p that a host could have: for IPv4 the
// one before the broadcast address.
func lastUsable(p netip.Prefix) netip.Addr {
	if a := lastAddr(p); !a.Is4() {
		return a
	}
	return lastAddr(p).Prev()
}
