// Package names keeps the names of a network's guests and answers DNS queries for
// them: A, AAAA and PTR below one domain and in the reverse zones of the network's
// subnets. It has no socket: who has one, or a frame, brings the query.
package names

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A Table is the names that a network's DNS server answers itself, and the
// addresses that they have, both ways. Its methods may be called from several
// goroutines.
type Table struct {
	domain  string         // with a final dot, in lower case
	subnets []netip.Prefix // at most one of each IP version

	mu      sync.RWMutex // guards all following fields
	owners  map[string]*owner
	forward map[string][]*owner // by name; never empty, the oldest first
	reverse map[string][]*owner // by name, as "1.127.168.192.in-addr.arpa."
}

// An owner has names. It does not change.
type owner struct {
	names []string // fully qualified, in lower case; the first is that of the addresses
	arpas []string // of addrs
	addrs []netip.Addr
}

// New returns an empty table for the domain. Subnets that are not valid count
// for nothing.
func New(domain string, subnets ...netip.Prefix) *Table {
	return &Table{
		domain:  dns.CanonicalName(domain),
		subnets: subnets,
		owners:  make(map[string]*owner),
		forward: make(map[string][]*owner),
		reverse: make(map[string][]*owner),
	}
}

// Reserve gives a name of the gateway's own those of its addresses that are valid.
// Without any it does nothing.
func (t *Table) Reserve(name string, addrs ...netip.Addr) error {
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !a.IsValid() })
	o, err := t.owner([]string{name}, addrs)
	if err != nil || len(addrs) == 0 {
		return err
	}
	t.replace("own/"+name, o)
	return nil
}

// Set does what vmnet.Namer's SetNames says.
func (t *Table) Set(key string, labels []string, addrs []netip.Addr) error {
	for _, l := range labels {
		if l = strings.ToLower(l); l == vmnet.NameGateway || l == vmnet.NameHost {
			return fmt.Errorf("name %q: is the gateway's own: %w", l, vmnet.InvalidArgument)
		}
	}
	o, err := t.owner(labels, addrs)
	if err != nil {
		return err
	}
	t.replace("guest/"+key, o)
	return nil
}

// owner checks names and addresses.
func (t *Table) owner(labels []string, addrs []netip.Addr) (*owner, error) {
	o := &owner{addrs: slices.Clone(addrs)}
	for _, l := range labels {
		fqdn := dns.CanonicalName(l + "." + t.domain)
		if _, ok := dns.IsDomainName(fqdn); !ok || l == "" || dns.CountLabel(fqdn) != dns.CountLabel(t.domain)+1 {
			return nil, fmt.Errorf("name %q: want a single DNS label: %w", l, vmnet.InvalidArgument)
		}
		if !slices.Contains(o.names, fqdn) {
			o.names = append(o.names, fqdn)
		}
	}
	for _, a := range addrs {
		arpa, err := dns.ReverseAddr(a.String())
		if err != nil || !t.speaks(a) {
			return nil, fmt.Errorf("names %q: address %s: the network does not have this IP version: %w", labels, a, errors.ErrUnsupported)
		}
		o.arpas = append(o.arpas, arpa)
	}
	return o, nil
}

// replace puts o in the place of what key had.
func (t *Table) replace(key string, o *owner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeLocked(key)
	t.owners[key] = o
	for _, name := range o.names {
		t.forward[name] = append(t.forward[name], o)
	}
	if len(o.names) == 0 {
		return
	}
	for _, arpa := range o.arpas {
		t.reverse[arpa] = append(t.reverse[arpa], o)
	}
}

// Remove forgets the names of a guest.
func (t *Table) Remove(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeLocked("guest/" + key)
}

func (t *Table) removeLocked(key string) {
	o := t.owners[key]
	if o == nil {
		return
	}
	delete(t.owners, key)
	drop := func(from map[string][]*owner, name string) {
		if left := slices.DeleteFunc(from[name], func(p *owner) bool { return p == o }); len(left) > 0 {
			from[name] = left
		} else {
			delete(from, name)
		}
	}
	for _, name := range o.names {
		drop(t.forward, name)
	}
	for _, arpa := range o.arpas {
		drop(t.reverse, arpa)
	}
}

// Owns reports whether names like name are the network's own to answer: those of
// its domain, and the reverse names of its subnet.
func (t *Table) Owns(name string) bool {
	if dns.IsSubDomain(t.domain, name) {
		return true
	}
	a, ok := reverseAddr(name)
	return ok && slices.ContainsFunc(t.subnets, func(p netip.Prefix) bool { return p.Contains(a) })
}

// speaks reports whether a is of an IP version that the network has.
func (t *Table) speaks(a netip.Addr) bool {
	return slices.ContainsFunc(t.subnets, func(p netip.Prefix) bool { return p.IsValid() && p.Addr().Is4() == a.Is4() })
}

// lookup returns the addresses, in ascending order, or the name, that name, in
// lower case, has.
func (t *Table) lookup(name string) (addrs []netip.Addr, ptr string, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, o := range t.forward[name] {
		for _, a := range o.addrs {
			if !slices.Contains(addrs, a) {
				addrs = append(addrs, a)
			}
		}
		ok = true
	}
	if owners := t.reverse[name]; len(owners) > 0 {
		return nil, owners[0].names[0], true
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs, "", ok
}

// reverseAddr returns the address of a name below in-addr.arpa or ip6.arpa.
func reverseAddr(name string) (netip.Addr, bool) {
	var b [4]byte
	labels := dns.SplitDomainName(name)
	if len(labels) == 34 && labels[32] == "ip6" && labels[33] == "arpa" {
		return reverseAddr6(labels[:32])
	}
	if len(labels) != 6 || labels[4] != "in-addr" || labels[5] != "arpa" {
		return netip.Addr{}, false
	}
	for i, l := range labels[:4] {
		v, ok := octet(l)
		if !ok {
			return netip.Addr{}, false
		}
		b[3-i] = v
	}
	return netip.AddrFrom4(b), true
}

// reverseAddr6 returns the address of 32 nibbles, the last first (RFC 3596, 2.5).
func reverseAddr6(nibbles []string) (netip.Addr, bool) {
	var b [16]byte
	for i, s := range nibbles {
		v := strings.Index("0123456789abcdef", s)
		if len(s) != 1 || v < 0 {
			return netip.Addr{}, false
		}
		b[15-i/2] |= byte(v << (i % 2 * 4))
	}
	return netip.AddrFrom16(b), true
}

func octet(s string) (byte, bool) {
	v := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		if v = v*10 + int(c-'0'); v > 255 {
			return 0, false
		}
	}
	return byte(v), len(s) > 0 && len(s) <= 3
}
