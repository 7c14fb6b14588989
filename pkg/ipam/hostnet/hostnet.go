// Package hostnet tells which addresses and routes the host has, so that a new
// network can keep clear of them. It reads the system and changes nothing.
package hostnet

import (
	"fmt"
	"net"
	"net/netip"
)

// minBits is the shortest IPv4 route that says where something is. Shorter ones
// say where everything else is: the default route, or its disguise in pieces, as
// VPNs set it (0.0.0.0/1 and 128.0.0.0/1, or the /2 to /7 that leave out the
// VPN's own server).
const minBits = 8

// InUse returns the subnets of the host's addresses and the destinations of its
// routes, of both IP versions, without loopback, multicast, and what stands for a
// default route. Prefixes are masked and may repeat. It is a picture of the
// moment.
func InUse() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var inUse []netip.Prefix
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			inUse = add(inUse, fromIPNet(n))
		}
	}
	routes, err := routes()
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, p := range routes {
		inUse = add(inUse, p)
	}
	return inUse, nil
}

// fromIPNet returns the prefix of n, the zero Prefix if n is none.
func fromIPNet(n *net.IPNet) netip.Prefix {
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
