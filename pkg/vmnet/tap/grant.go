package tap

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// defaultDomain is the DNS domain of the network's own names.
const defaultDomain = "vm.internal"

// grant checks cfg and fills in every default.
func grant(cfg vmnet.NetworkConfig) (vmnet.NetworkInfo, error) {
	info := vmnet.NetworkInfo{NetworkConfig: cfg}
	if err := supported(cfg); err != nil {
		return info, err
	}
	if cfg.MTU == 0 {
		info.MTU = vmnet.DefaultMTU
	}
	if info.MTU < vmnet.MinMTU || info.MTU > vmnet.MaxMTU {
		return info, fmt.Errorf("mtu %d: want %d to %d: %w", cfg.MTU, vmnet.MinMTU, vmnet.MaxMTU, vmnet.InvalidArgument)
	}
	if cfg.Domain == "" {
		info.Domain = defaultDomain
	}
	if cfg.Layer2 || cfg.Mode == vmnet.Bridged {
		if cfg.Subnet.IsValid() || cfg.Subnet6.IsValid() || cfg.Gateway.IsValid() {
			return info, fmt.Errorf("subnet or gateway of a layer-2 or bridged network: want none: %w", vmnet.InvalidArgument)
		}
		info.Layer2 = true // in mode bridged IP is between the guests and the LAN
		return info, nil
	}
	return info, errors.Join(grantSubnet(&info), grantSubnet6(info), grantResolvers(info))
}

func supported(cfg vmnet.NetworkConfig) error {
	switch {
	case cfg.Mode > vmnet.Bridged:
		return fmt.Errorf("mode %s: want one of %q: %w", cfg.Mode, vmnet.Modes(), vmnet.InvalidArgument)
	case cfg.Mode == vmnet.Bridged && cfg.Uplink == "":
		return fmt.Errorf("uplink: mode bridged needs the name of an interface: %w", vmnet.InvalidArgument)
	case cfg.Mode != vmnet.Bridged && cfg.Uplink != "":
		return fmt.Errorf("uplink %q of a %s network: want none: %w", cfg.Uplink, cfg.Mode, vmnet.InvalidArgument)
	case cfg.HostLoopback:
		return fmt.Errorf("host loopback: driver tap has no address for it: %w", errors.ErrUnsupported)
	}
	return nil
}

func grantSubnet(info *vmnet.NetworkInfo) error {
	p := info.Subnet
	switch {
	case !p.IsValid() && info.Subnet6.IsValid():
		if info.Gateway.IsValid() {
			return fmt.Errorf("gateway %s: want none without a subnet: %w", info.Gateway, vmnet.InvalidArgument)
		}
		return nil
	case !p.IsValid():
		return fmt.Errorf("subnet: driver tap needs one: %w", vmnet.InvalidArgument)
	case !p.Addr().Is4():
		return fmt.Errorf("subnet %s: want IPv4: %w", p, vmnet.InvalidArgument)
	case p.Bits() > 30 || p.Bits() < 8:
		return fmt.Errorf("subnet %s: want a prefix of 8 to 30 bits: %w", p, vmnet.InvalidArgument)
	case p.Masked() != p:
		return fmt.Errorf("subnet %s: want it masked, %s: %w", p, p.Masked(), vmnet.InvalidArgument)
	case !usable(p):
		return fmt.Errorf("subnet %s: not for guests: %w", p, vmnet.InvalidArgument)
	}
	if !info.Gateway.IsValid() {
		info.Gateway = vmnet.FirstAddr(p)
	}
	first, last := vmnet.FirstAddr(p), vmnet.LastAddr(p)
	if g := info.Gateway; !p.Contains(g) || g.Less(first) || last.Less(g) {
		return fmt.Errorf("gateway %s: want an address of %s to %s: %w", g, first, last, vmnet.InvalidArgument)
	}
	return nil
}

func grantSubnet6(info vmnet.NetworkInfo) error {
	p := info.Subnet6
	switch {
	case p == netip.Prefix{}:
		return nil
	case !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6() || p.Bits() != 64 || p.Masked() != p:
		return fmt.Errorf("subnet6 %s: want a masked IPv6 prefix of 64 bits: %w", p, vmnet.InvalidArgument)
	case !usable(p):
		return fmt.Errorf("subnet6 %s: not for guests: %w", p, vmnet.InvalidArgument)
	}
	return nil
}

// reserved are the prefixes that no host on a network may have (RFC 6890).
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/8"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

func usable(p netip.Prefix) bool {
	for _, r := range reserved {
		if r.Overlaps(p) {
			return false
		}
	}
	return true
}

func grantResolvers(info vmnet.NetworkInfo) error {
	for _, r := range info.Resolvers {
		if !r.IsValid() || r.Port() == 0 {
			return fmt.Errorf("resolver %s: want address and port: %w", r, vmnet.InvalidArgument)
		}
	}
	return nil
}
