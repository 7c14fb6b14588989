package netstack

import (
	"fmt"
	"net/netip"
	"sync"

	"github.com/miekg/dns"
)

// Names are the names that a network's DNS server answers itself: an address
// each, both ways. Its methods may be called from several goroutines.
type Names struct {
	domain string // with a final dot, in lower case
	subnet netip.Prefix

	mu      sync.RWMutex // guards all following fields
	forward map[string]netip.Addr
	reverse map[string]string // "1.127.168.192.in-addr.arpa." to name
}

// newNames returns an empty table for the domain.
func newNames(domain string, subnet netip.Prefix) *Names {
	return &Names{
		domain:  dns.CanonicalName(domain),
		subnet:  subnet,
		forward: make(map[string]netip.Addr),
		reverse: make(map[string]string),
	}
}

// Set gives the host name, a single label below the network's domain, the IPv4
// address a, and a the name. What either had before is replaced.
func (n *Names) Set(name string, a netip.Addr) error {
	fqdn := dns.CanonicalName(name + "." + n.domain)
	if _, ok := dns.IsDomainName(fqdn); !ok || name == "" || dns.CountLabel(fqdn) != dns.CountLabel(n.domain)+1 {
		return fmt.Errorf("name %q: want a single DNS label", name)
	}
	if !a.Is4() {
		return fmt.Errorf("name %q: address %s: want IPv4", name, a)
	}
	arpa, err := dns.ReverseAddr(a.String())
	if err != nil {
		return fmt.Errorf("name %q: address %s: %w", name, a, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removeLocked(fqdn)
	if old, ok := n.reverse[arpa]; ok {
		n.removeLocked(old)
	}
	n.forward[fqdn] = a
	n.reverse[arpa] = fqdn
	return nil
}

// Remove forgets the host name. It is no error when there is none.
func (n *Names) Remove(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removeLocked(dns.CanonicalName(name + "." + n.domain))
}

func (n *Names) removeLocked(fqdn string) {
	a, ok := n.forward[fqdn]
	if !ok {
		return
	}
	delete(n.forward, fqdn)
	if arpa, err := dns.ReverseAddr(a.String()); err == nil {
		delete(n.reverse, arpa)
	}
}

// owns reports whether names like name are the network's own to answer: those of
// its domain, and the reverse names of its subnet.
func (n *Names) owns(name string) bool {
	if dns.IsSubDomain(n.domain, name) {
		return true
	}
	a, ok := reverseAddr(name)
	return ok && n.subnet.Contains(a)
}

// lookup returns the address or the name that name, in lower case, has.
func (n *Names) lookup(name string) (a netip.Addr, ptr string, ok bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if a, ok = n.forward[name]; ok {
		return a, "", true
	}
	ptr, ok = n.reverse[name]
	return netip.Addr{}, ptr, ok
}

// reverseAddr returns the address of a name below in-addr.arpa.
func reverseAddr(name string) (netip.Addr, bool) {
	var b [4]byte
	labels := dns.SplitDomainName(name)
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
