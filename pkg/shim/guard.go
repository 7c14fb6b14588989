package shim

import (
	"net/netip"
	"slices"
)

// MaxGuardPrefixes is the longest list of Guard.Allow and of Guard.Deny.
const MaxGuardPrefixes = 64

// A Guard says what frames of a guest are dropped, as vmnet.Guard explains. What
// is absent is on, but for IP where nobody tells the shim the guest's addresses.
type Guard struct {
	MAC  *bool `json:"mac,omitempty"`  // frames from another MAC
	IP   *bool `json:"ip,omitempty"`   // packets from another address
	DHCP *bool `json:"dhcp,omitempty"` // what DHCP servers send
	RA   *bool `json:"ra,omitempty"`   // what routers send
	// Allow and Deny are destinations, at most MaxGuardPrefixes of each.
	Allow []netip.Prefix `json:"allow,omitempty"`
	Deny  []netip.Prefix `json:"deny,omitempty"`
}

// Complete returns the guard with every switch set. addresses says whether the
// guest's addresses are known.
func (g Guard) Complete(addresses bool) Guard {
	set := func(v **bool, to bool) {
		if *v == nil {
			*v = &to
		}
	}
	set(&g.MAC, true)
	set(&g.IP, addresses)
	set(&g.DHCP, true)
	set(&g.RA, true)
	return g
}

// Equal reports whether two complete guards mean the same.
func (g Guard) Equal(h Guard) bool {
	same := func(a, b *bool) bool { return a == b || a != nil && b != nil && *a == *b }
	return same(g.MAC, h.MAC) && same(g.IP, h.IP) && same(g.DHCP, h.DHCP) && same(g.RA, h.RA) &&
		slices.Equal(g.Allow, h.Allow) && slices.Equal(g.Deny, h.Deny)
}
