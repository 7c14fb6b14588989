package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/dhcp"
	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// pool6Name tells a network's pool of IPv6 addresses from that of IPv4 ones.
const pool6Name = "ipv6"

// normalizeVersions checks which IP versions the network has.
func normalizeVersions(n *shim.NetworkSpec) error {
	if n.IPv4 == shim.IPManaged {
		n.IPv4 = ""
	}
	if n.IPv6 == shim.IPManaged {
		n.IPv6 = ""
	}
	switch {
	case n.IPv4 != "" && n.IPv4 != shim.IPNone:
		return shim.Invalidf("network.ipv4", n.IPv4, "want %q or %q", shim.IPManaged, shim.IPNone)
	case n.IPv6 != "" && n.IPv6 != shim.IPSLAAC && n.IPv6 != shim.IPNone:
		return shim.Invalidf("network.ipv6", n.IPv6, "want %q, %q or %q", shim.IPManaged, shim.IPSLAAC, shim.IPNone)
	case n.IPv4 == shim.IPNone && n.IPv6 == shim.IPNone:
		return shim.Invalidf("network.ipv6", n.IPv6, "network.ipv4 is %q too; a network without IP is one with ipam %q", n.IPv4, shim.IPAMNone)
	case n.IPAM == shim.IPAMStatic && n.IPv6 == shim.IPSLAAC:
		return shim.Invalidf("network.ipv6", n.IPv6, "the addresses come from elsewhere, want %q or %q", shim.IPManaged, shim.IPNone)
	case (n.IPv4 == shim.IPNone || n.IPv6 == shim.IPSLAAC) && !mayHaveIPv6(*n):
		return shim.Invalidf("network.ipv6", n.IPv6, "mode %s with ipam %q has no IPv6 of the shim's", n.Mode, n.IPAM)
	}
	return nil
}

func normalizeSubnet6(n *shim.NetworkSpec) error {
	p := n.Subnet6
	switch {
	case !p.IsValid():
		return nil
	case !mayHaveIPv6(*n):
		return unsupported("network.subnet6", p.String(), fmt.Sprintf("mode %s with ipam %q has no IPv6 of the shim's", n.Mode, n.IPAM))
	case n.IPv6 == shim.IPNone:
		return shim.Invalidf("network.subnet6", p.String(), "network.ipv6 is %q, want no subnet6", n.IPv6)
	case !p.Addr().Is6() || p.Addr().Is4In6() || p.Bits() != 64:
		return shim.Invalidf("network.subnet6", p.String(), "want an IPv6 subnet of 64 bits")
	case p != p.Masked():
		return shim.Invalidf("network.subnet6", p.String(), "has host bits, want %s", p.Masked())
	}
	return nil
}

// mayHaveIPv6 reports whether guests of a network may have IPv6 addresses of the
// shim's telling, if its driver can: not at layer 2, nor on somebody else's link.
func mayHaveIPv6(n shim.NetworkSpec) bool {
	return tellsAddresses(n) && n.Mode != vmnet.Bridged
}

// asksForIPv6 is what of IPv6 was asked for by name: a key and its value, or "".
func asksForIPv6(asked shim.NetworkSpec) (key, value string) {
	for _, k := range []struct{ key, value string }{
		{"network.subnet6", prefixText(asked.Subnet6)}, {"network.ipv6", asked.IPv6}, {"network.ipv4", asked.IPv4},
	} {
		if k.value != "" && k.value != shim.IPManaged {
			return k.key, k.value
		}
	}
	return "", ""
}

// openWith opens the network with d, named driver, and returns what it fits. Where
// the driver has no IPv6 and nobody asked for it by name, there is none.
func openWith(ctx context.Context, driver string, d vmnet.Driver, asked, want shim.NetworkSpec) (vmnet.Network, shim.NetworkSpec, error) {
	nw, err := d.Open(ctx, configOf(want))
	if err == nil || !want.Subnet6.IsValid() || !errors.Is(err, errors.ErrUnsupported) {
		return nw, want, err
	}
	fits := want
	fits.Subnet6 = netip.Prefix{}
	if key, value := asksForIPv6(asked); key != "" {
		return nil, fits, unsupported(key, value, fmt.Sprintf("driver %s cannot: %v", driver, err))
	}
	nw, err = d.Open(ctx, configOf(fits))
	return nw, fits, err
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// subnetsText is the subnets of a network, for the log.
func subnetsText(n shim.NetworkSpec) string {
	return strings.TrimSpace(prefixText(n.Subnet) + " " + prefixText(n.Subnet6))
}

// texts joins addresses, for the log.
func texts(addrs []netip.Addr) string {
	var list []string
	for _, a := range addrs {
		list = append(list, a.String())
	}
	return strings.Join(list, " ")
}

// chooseSubnet6 returns the unique local /64 (RFC 4193) of a network: made from
// its name and the user, so that it is the same after a reinstallation too, unless
// something else uses that. Two users' networks may be on one host.
func chooseSubnet6(name string, inUse []netip.Prefix) netip.Prefix {
	for try := 0; ; try++ {
		sum := sha256.Sum256([]byte("subnet6\x00" + strconv.Itoa(os.Getuid()) + "\x00" + name + "\x00" + strconv.Itoa(try)))
		var b [16]byte
		b[0] = 0xfd
		copy(b[1:8], sum[:])
		p := netip.PrefixFrom(netip.AddrFrom16(b), 64)
		if free := !overlaps(p, inUse); free || try == 100 { // 2^-56 each, but for a route as ::/0
			return p
		}
	}
}

func overlaps(p netip.Prefix, others []netip.Prefix) bool {
	for _, o := range others {
		if o.Bits() > 0 && p.Overlaps(o) {
			return true
		}
	}
	return false
}

// gateway6 is the gateway's IPv6 address, zero without IPv6.
func gateway6(n shim.NetworkSpec) netip.Addr { return vmnet.FirstAddr(n.Subnet6) }

// pool6 is where the network's IPv6 addresses come from.
func (o *openNetwork) pool6() ipam.Pool { return pool6(o.granted) }

func pool6(n shim.NetworkSpec) ipam.Pool {
	p := ipam.SubnetPool(n.Name, n.Subnet6, gateway6(n))
	p.Name = pool6Name
	return p
}

// wanted6 is the address that a guest of the network makes by itself, zero where
// it does not.
func wanted6(r *attachmentRecord) netip.Addr {
	mac, err := net.ParseMAC(r.MAC)
	if err != nil || r.Granted.IPv6 != shim.IPSLAAC {
		return netip.Addr{}
	}
	return dhcp.EUI64(r.Granted.Subnet6, mac)
}

// stage6 is what answers the guest's DHCPv6 and router solicitations.
func stage6(a *attachment, mac net.HardwareAddr) (relay.Stage, error) {
	g, dns := a.rec.Granted, a.dns()
	cfg := dhcp.ConfigV6{
		GuestMAC: mac, ServerMAC: vmnet.GatewayMAC(g.Name), ServerID: vmnet.GatewayMAC(g.Name), Addr: a.rec.Addr6,
		SLAAC: g.IPv6 == shim.IPSLAAC, Search: dns.Search, MTU: a.ifc.MTU(),
	}
	if len(cfg.Search) == 0 && dns.Domain != "" {
		cfg.Search = []string{dns.Domain}
	}
	for _, ns := range dns.Nameservers {
		if addr, err := netip.ParseAddr(ns); err == nil && addr.Is6() && !addr.Is4In6() && addr.Zone() == "" {
			cfg.DNS = append(cfg.DNS, addr)
		}
	}
	return newRouterStage(a, cfg)
}
