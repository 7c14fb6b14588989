package main

import (
	"context"
	"net"
	"net/netip"
)

// hostPrefixes returns the subnets of the host's addresses.
func hostPrefixes(context.Context) ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out, nil
}
