package vmnet

import (
	"errors"
	"fmt"
	"net/netip"
)

// DefaultDomain is the DNS domain of a network's own names where the
// configuration gives none.
const DefaultDomain = "vm.internal"

// Grant checks the numbers and addresses of c, fills in their defaults, and
// returns what a driver that makes its gateway by itself can grant. usable says
// which subnets the driver can serve. Mode, uplink and abilities are the
// driver's to check. An error names the key and the value and wraps
// InvalidArgument.
func (c NetworkConfig) Grant(usable func(netip.Prefix) bool) (NetworkInfo, error) {
	info := NetworkInfo{NetworkConfig: c}
	if info.MTU == 0 {
		info.MTU = DefaultMTU
	}
	if info.MTU < MinMTU || info.MTU > MaxMTU {
		return info, fmt.Errorf("mtu %d: want %d to %d: %w", c.MTU, MinMTU, MaxMTU, InvalidArgument)
	}
	if info.Domain == "" {
		info.Domain = DefaultDomain
	}
	if c.Layer2 {
		if c.Subnet.IsValid() || c.Subnet6.IsValid() || c.Gateway.IsValid() || c.HostLoopback {
			return info, fmt.Errorf("subnet, gateway or host loopback of a layer-2 network: want none: %w", InvalidArgument)
		}
		return info, nil
	}
	return info, errors.Join(info.grantSubnet(usable), info.grantSubnet6(usable), info.grantResolvers())
}

func (info *NetworkInfo) grantSubnet(usable func(netip.Prefix) bool) error {
	p := info.Subnet
	switch {
	case !p.IsValid() && info.Subnet6.IsValid():
		if info.Gateway.IsValid() {
			return fmt.Errorf("gateway %s: want none without a subnet: %w", info.Gateway, InvalidArgument)
		}
		return nil
	case !p.IsValid():
		return fmt.Errorf("subnet: this driver needs one: %w", InvalidArgument)
	case !p.Addr().Is4():
		return fmt.Errorf("subnet %s: want IPv4: %w", p, InvalidArgument)
	case p.Bits() > 30 || p.Bits() < 8:
		return fmt.Errorf("subnet %s: want a prefix of 8 to 30 bits: %w", p, InvalidArgument)
	case p.Masked() != p:
		return fmt.Errorf("subnet %s: want it masked, %s: %w", p, p.Masked(), InvalidArgument)
	case !usable(p):
		return fmt.Errorf("subnet %s: not for guests: %w", p, InvalidArgument)
	}
	first, last := FirstAddr(p), LastAddr(p)
	if !info.Gateway.IsValid() {
		info.Gateway = first
	}
	if g := info.Gateway; !p.Contains(g) || g.Less(first) || last.Less(g) {
		return fmt.Errorf("gateway %s: want an address of %s to %s: %w", g, first, last, InvalidArgument)
	}
	if info.HostLoopback {
		if info.Gateway == last {
			return fmt.Errorf("gateway %s: the last address is the host's loopback: %w", last, InvalidArgument)
		}
		info.HostLoopbackAddr = last
	}
	return nil
}

func (info *NetworkInfo) grantSubnet6(usable func(netip.Prefix) bool) error {
	p := info.Subnet6
	switch {
	case p == netip.Prefix{}:
		return nil
	case !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6() || p.Bits() != 64 || p.Masked() != p:
		return fmt.Errorf("subnet6 %s: want a masked IPv6 prefix of 64 bits: %w", p, InvalidArgument)
	case !usable(p):
		return fmt.Errorf("subnet6 %s: not for guests: %w", p, InvalidArgument)
	}
	if info.HostLoopback {
		info.HostLoopbackAddr6 = LastAddr(p)
	}
	return nil
}

func (info *NetworkInfo) grantResolvers() error {
	for _, r := range info.Resolvers {
		if !r.IsValid() || r.Port() == 0 {
			return fmt.Errorf("resolver %s: want address and port: %w", r, InvalidArgument)
		}
	}
	return nil
}
