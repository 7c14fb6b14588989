package shim

import (
	"net/netip"
	"time"
)

// How an address was seen, in SeenAddress.Via.
const (
	SeenARP    = "arp"    // the guest asked or answered as its holder
	SeenND     = "nd"     // the same of IPv6
	SeenBootpd = "bootpd" // macOS' DHCP server wrote it down
)

// A SeenAddress is an address of a guest to which the shim gives none, as it was
// seen on the wire, or in the file of the system's DHCP server.
type SeenAddress struct {
	Address netip.Addr `json:"address"`
	Via     string     `json:"via"`
	// First, Last and Count are when and in how many frames the guest said so.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	Count uint64    `json:"count,omitempty"`
	// Name and Expires are the host name and the end of the lease.
	Name    string    `json:"name,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}
