// Package hostnet tells which addresses and routes the host has, so that a new
// network can keep clear of them. It reads the system and changes nothing.
package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink"
)

// minBits is the shortest IPv4 route that says where something is. Shorter ones
// say where everything else is: the default route, or its disguise in pieces, as
// VPNs set it (0.0.0.0/1 and 128.0.0.0/1, or the /2 to /7 that leave out the
// VPN's own server).
const minBits = 8

// InUse returns the subnets of the host's addresses and the destinations of its
// routes, of both IP versions and all tables (VPNs have tables of their own),
// without loopback, multicast, and what stands for a default route. Prefixes are
// masked and may repeat. It is a picture of the moment, in the network namespace
// of the calling thread.
func InUse() ([]netip.Prefix, error) {
	var inUse []netip.Prefix
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		addrs, err := list(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, family) })
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range addrs {
			inUse = add(inUse, fromIPNet(a.IPNet))
			inUse = add(inUse, fromIPNet(a.Peer))
		}
		routes, err := list(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_TABLE) // table 0: all
		})
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			inUse = add(inUse, fromIPNet(r.Dst))
		}
	}
	return inUse, nil
}

// tries is how often a list is read that changes meanwhile.
const tries = 5

// list reads a list again while it changes under the reader.
func list[T any](read func() ([]T, error)) (all []T, err error) {
	for range tries {
		if all, err = read(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// fromIPNet returns the prefix of n, the zero Prefix if n is none.
func fromIPNet(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}
	}
	if a = a.Unmap(); a.BitLen() != bits {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, ones)
}

// add appends p if it takes room in the host's address space.
func add(inUse []netip.Prefix, p netip.Prefix) []netip.Prefix {
	a := p.Addr()
	switch {
	case !p.IsValid(), a.IsLoopback(), a.IsMulticast():
		return inUse
	case a.Is4() && p.Bits() < minBits, a.Is6() && p.Bits() == 0:
		return inUse
	}
	return append(inUse, p.Masked())
}
