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
