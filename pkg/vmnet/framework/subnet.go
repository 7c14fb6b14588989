package framework

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// private are the subnets that the framework accepts; others, 169.254.0.0/16
// included, are refused with 1001 (RFC 1918; UTM issue 6221).
var private = [...]netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
}

// unique is the space of IPv6 prefixes that the framework accepts (RFC 4193).
var unique = netip.MustParsePrefix("fd00::/8")

// maxBits is the smallest IPv4 subnet known to work (vmnet-helper's tests).
const maxBits = 30

// A kind is how a network is made.
type kind uint8

const (
	classic  kind = iota // every interface with the network's description; the system's DHCP server is there
	classicH             // a host network with an identifier of its own, without a DHCP server (macOS 11)
	logical              // an object of its own, without a DHCP server (macOS 26)
)

// complete checks cfg and fills in what it leaves open, without looking at the
// system.
func complete(cfg vmnet.NetworkConfig, k kind) (vmnet.NetworkConfig, error) {
	if cfg.MTU == 0 && cfg.Mode != vmnet.Bridged {
		cfg.MTU = vmnet.DefaultMTU
	}
	for _, err := range []error{checkMode(cfg), checkMTU(cfg), checkUnsupported(cfg, k), checkSubnet(cfg), checkSubnet6(cfg)} {
		if err != nil {
			return cfg, err
		}
	}
	if cfg.Mode == vmnet.Bridged || cfg.Layer2 || !cfg.Subnet.IsValid() {
		return cfg, nil
	}
	if !cfg.Gateway.IsValid() {
		cfg.Gateway = vmnet.FirstAddr(cfg.Subnet)
	}
	if k != classic {
		return cfg, nil
	}
	if !cfg.RangeEnd.IsValid() {
		cfg.RangeEnd = cfg.Gateway.Next()
	}
	last := vmnet.LastAddr(cfg.Subnet)
	if !cfg.Gateway.Less(cfg.RangeEnd) || last.Less(cfg.RangeEnd) {
		return cfg, invalid("range end %s: want an address after the gateway %s, up to %s: the system's DHCP server needs one",
			cfg.RangeEnd, cfg.Gateway, last)
	}
	return cfg, nil
}

func checkMode(cfg vmnet.NetworkConfig) error {
	switch cfg.Mode {
	case vmnet.Shared, vmnet.Host:
		if cfg.Uplink != "" {
			return invalid("uplink %q: only a bridged network has one", cfg.Uplink)
		}
		return nil
	case vmnet.Bridged:
		if cfg.Uplink == "" {
			return invalid("uplink: a bridged network needs one")
		}
		return nil
	}
	return invalid("mode %s: want one of %q", cfg.Mode, vmnet.Modes())
}

func checkMTU(cfg vmnet.NetworkConfig) error {
	if cfg.MTU == 0 || vmnet.MinMTU <= cfg.MTU && cfg.MTU <= vmnet.MaxMTU {
		return nil
	}
	return invalid("mtu %d: want %d to %d", cfg.MTU, vmnet.MinMTU, vmnet.MaxMTU)
}

// checkUnsupported refuses what only a gateway that is a program can do, rather
// than to ignore it. Resolvers are no such thing: guests ask those they were told
// of by themselves, and the gateway asks the host's.
func checkUnsupported(cfg vmnet.NetworkConfig, k kind) error {
	switch {
	case cfg.Subnet6.IsValid() && !cfg.Layer2 && k == classic && cfg.Mode == vmnet.Host:
		return fmt.Errorf("subnet6 %s: a host network has IPv6 from macOS 11 on, and no range end: %w", cfg.Subnet6, errors.ErrUnsupported)
	case cfg.HostLoopback:
		return fmt.Errorf("host loopback: the gateway of driver vmnet is the host itself, bind the service to its address: %w", errors.ErrUnsupported)
	case cfg.Isolated && cfg.Mode == vmnet.Bridged:
		return fmt.Errorf("isolated: not in bridged mode: %w", errors.ErrUnsupported)
	}
	return nil
}

func checkSubnet(cfg vmnet.NetworkConfig) error {
	p := cfg.Subnet
	if !p.IsValid() {
		if cfg.Gateway.IsValid() || cfg.RangeEnd.IsValid() {
			return invalid("gateway %s, range end %s: want a subnet with them", cfg.Gateway, cfg.RangeEnd)
		}
		return nil
	}
	if !p.Addr().Is4() || p != p.Masked() || p.Bits() > maxBits {
		return invalid("subnet %s: want a masked IPv4 subnet of /%d or larger", p, maxBits)
	}
	if cfg.Mode != vmnet.Bridged && !inside(p, private[:]) {
		return invalid("subnet %s: want one inside of %s (RFC 1918), the framework takes no other", p, private)
	}
	for name, a := range map[string]netip.Addr{"gateway": cfg.Gateway, "range end": cfg.RangeEnd} {
		if a.IsValid() && (a.Less(vmnet.FirstAddr(p)) || vmnet.LastAddr(p).Less(a)) {
			return invalid("%s %s: want an address from %s to %s", name, a, vmnet.FirstAddr(p), vmnet.LastAddr(p))
		}
	}
	return nil
}

func checkSubnet6(cfg vmnet.NetworkConfig) error {
	p := cfg.Subnet6
	if !p.IsValid() || cfg.Mode == vmnet.Bridged {
		return nil
	}
	if p != p.Masked() || p.Bits() != 64 || !unique.Contains(p.Addr()) {
		return invalid("subnet6 %s: want a masked /64 inside of %s (RFC 4193), the framework takes no other", p, unique)
	}
	return nil
}

// The subnets that a network is given that asks for none: where the system's own
// choice begins, and before those that the shim chooses from.
var (
	firstSubnet = netip.MustParsePrefix("192.168.64.0/24")
	lastSubnet  = netip.MustParsePrefix("192.168.126.0/24")
)

// firstFree returns the first of them that overlaps none of used.
func firstFree(used []netip.Prefix) (netip.Prefix, bool) {
	for p := firstSubnet; ; p = netip.PrefixFrom(vmnet.LastAddr(p).Next().Next(), p.Bits()) {
		if !slices.ContainsFunc(used, func(u netip.Prefix) bool { return overlap(p, u) }) {
			return p, true
		}
		if p == lastSubnet {
			return netip.Prefix{}, false
		}
	}
}

// hostSubnets returns the IPv4 subnets of the host's addresses.
func hostSubnets() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of the host: %w", err)
	}
	var list []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			list = append(list, p.Masked())
		}
	}
	return list, nil
}

func overlap(a, b netip.Prefix) bool { return a.IsValid() && b.IsValid() && a.Overlaps(b) }

func inside(p netip.Prefix, spaces []netip.Prefix) bool {
	for _, s := range spaces {
		if s.Contains(p.Addr()) && s.Bits() <= p.Bits() {
			return true
		}
	}
	return false
}

// mask returns the IPv4 netmask of p.
func mask(p netip.Prefix) netip.Addr {
	m := ^uint32(0) << (32 - p.Bits())
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)})
}

// prefixOf returns the subnet of an address and a netmask, the zero Prefix for a
// mask that is none.
func prefixOf(addr, mask netip.Addr) netip.Prefix {
	if !addr.Is4() || !mask.Is4() {
		return netip.Prefix{}
	}
	b := mask.As4()
	m := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	bits := 0
	for ; bits < 32 && m&(1<<31) != 0; bits++ {
		m <<= 1
	}
	if m != 0 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

// compare returns an error when the system granted another subnet than the one
// asked for. The zero Prefix is asked for when any will do.
func compare(asked, granted netip.Prefix) error {
	if !asked.IsValid() || asked == granted {
		return nil
	}
	return fmt.Errorf("subnet %s: the system granted %s: free the subnet that was asked for, or configure the one granted", asked, granted)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, vmnet.InvalidArgument)...)
}
