package shim

import (
	"context"
	"net/netip"
	"net/url"
	"time"
)

// KeyIPAM is the Key of errors that come from where the leases are kept: with
// CodeUnavailable it cannot be reached, while frames go on moving.
const KeyIPAM = "ipam"

// MaxStickyKey is the longest sticky key, in bytes.
const MaxStickyKey = 512

// DefaultQuarantine is LeasePolicy.Quarantine when that is empty: longer than
// Linux peers believe an address to be where it was (arp(7), base_reachable_time,
// 30 s, of which up to one and a half times).
const DefaultQuarantine = time.Minute

// Values of LeasePolicy.WhenFull.
const (
	WhenFullReuse  = "reuse"  // give the address that is free for the longest
	WhenFullRefuse = "refuse" // give none before a quarantine is over
)

// A LeasePolicy says how an address is chosen.
type LeasePolicy struct {
	// StickyKey is a text under which the addresses are remembered when they are
	// released, and found again by the next request that has it. Empty: container
	// ID and ifname.
	StickyKey string `json:"stickyKey,omitempty"`
	// Quarantine is how long a released address is kept from others, as "10m".
	// Empty: DefaultQuarantine. "0s": not at all.
	Quarantine string `json:"quarantine,omitempty"`
	// WhenFull is what happens when only addresses in quarantine are free:
	// WhenFullReuse when empty, or WhenFullRefuse.
	WhenFull string `json:"whenFull,omitempty"`
}

// Lease says who has which addresses, as the lease store knows it.
type Lease struct {
	Network     string         `json:"network"`
	ContainerID string         `json:"containerID"`
	IfName      string         `json:"ifname"`
	Addrs       []netip.Prefix `json:"addrs"`
	MAC         string         `json:"mac,omitempty"`
	StickyKey   string         `json:"stickyKey"`
	Created     time.Time      `json:"created"`
	// Machine is the one that holds the lease, where several share the store.
	Machine string `json:"machine,omitempty"`
	// Early says that an address was given before its quarantine was over, since
	// nothing else was free.
	Early bool `json:"early,omitempty"`
	// Attached says that the lease is of an attachment of this shim.
	Attached bool `json:"attached"`
}

// Leases lists the leases of a network, or of all when network is "", sorted by
// network, container ID and ifname. Root gets those of all machines that share
// the store, others those of their own attachments.
func (c *Client) Leases(ctx context.Context, network string) ([]Lease, error) {
	path := "/" + APIVersion + "/leases"
	if network != "" {
		path += "?network=" + url.QueryEscape(network)
	}
	var l []Lease
	return l, c.call(ctx, "list leases", methodGet, path, nil, &l)
}

// ReleaseLease releases a lease that has no attachment here. machine is the one
// that the lease names, "" for this one. It is no error when there is no lease.
func (c *Client) ReleaseLease(ctx context.Context, network, containerID, ifname, machine string) error {
	path := networkPath(network) + "/leases/" + url.PathEscape(containerID) + "/" + url.PathEscape(ifname)
	if machine != "" {
		path += "?machine=" + url.QueryEscape(machine)
	}
	return c.call(ctx, about("release lease", network, containerID, ifname), methodDelete, path, nil, nil)
}
