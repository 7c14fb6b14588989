package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A subnet is one that a network has, or will have.
type subnet struct {
	netip.Prefix
	who    string   // for people
	name   string   // the network's
	mode   string   //
	links  []string // its own on the host
	driver string
}

func subnets(_ context.Context, p *patient) ([]Finding, error) {
	used, err := p.Prefixes()
	if err != nil {
		return nil, cannot("addresses and routes of the host", err)
	}
	links, _ := p.Links() // without aliases, names tell less
	var f findings
	all := p.subnets()
	for i, s := range all {
		for _, t := range all[:i] {
			if s.name != t.name && s.Overlaps(t.Prefix) {
				f.wrong(fmt.Sprintf("subnet %s of %s overlaps %s of %s", s.Prefix, s.who, t.Prefix, t.who), "guests of one do not reach the other, and addresses are given twice",
					fmt.Sprintf(`set "subnet": "%s" in one of them`, free(used, all)))
			}
		}
		if u, ok := clash(s, used, links); ok {
			f.wrong(fmt.Sprintf("subnet %s of %s overlaps %s on %s%s", s.Prefix, s.who, u.Prefix, u.Link, kind(u.Link)),
				"guests do not reach what is there, or the host does not reach the guests", fmt.Sprintf(`set "subnet": "%s", and start the guests again`, free(used, all)))
		}
	}
	return f, nil
}

// subnets returns those of running networks, then those that are only configured.
func (p *patient) subnets() []subnet {
	var all []subnet
	for _, n := range p.shim.Networks {
		for _, prefix := range []netip.Prefix{n.Subnet, n.Subnet6} {
			if prefix.IsValid() {
				all = append(all, subnet{prefix.Masked(), "network " + n.Name, n.Name, n.Mode.String(), n.HostInterfaces, n.Driver})
			}
		}
	}
	for _, c := range p.configs {
		o, ok := c.ours()
		prefix, err := netip.ParsePrefix(o.Subnet)
		if !ok || err != nil || slices.ContainsFunc(all, func(s subnet) bool { return s.name == c.name }) {
			continue
		}
		all = append(all, subnet{prefix.Masked(), c.path, c.name, o.Mode, nil, o.Driver})
	}
	return all
}

// clash returns what overlaps a subnet and is not the network's own.
func clash(s subnet, used []Prefix, links []Link) (Prefix, bool) {
	if s.mode == "bridged" {
		return Prefix{}, false // it is the LAN's
	}
	for _, u := range used {
		if u.Bits() < 8 && u.Addr().Is4() || u.Bits() == 0 || !s.Overlaps(u.Prefix) || slices.Contains(s.links, u.Link) {
			continue
		}
		// What the framework and driver tap make for this network.
		own := slices.ContainsFunc(links, func(l Link) bool { return l.Name == u.Link && strings.HasPrefix(l.Alias, "vmnet:") }) ||
			s.driver != shim.DriverNetstack && isVmnetBridge(u.Link) && u.Bits() >= s.Bits()
		if !own {
			return u, true
		}
	}
	return Prefix{}, false
}

// isVmnetBridge reports whether a link has a name as the framework gives to its
// bridges: bridge100 and on.
func isVmnetBridge(link string) bool {
	return strings.HasPrefix(link, "bridge1") && len(link) == len("bridge100") || strings.HasPrefix(link, "vmenet")
}

// kind tells of VPNs by the names of their links.
func kind(link string) string {
	for _, p := range []string{"utun", "tun", "wg", "ppp", "ipsec", "tailscale", "zt", "nordlynx", "gpd", "cscotun"} {
		if strings.HasPrefix(link, p) {
			return " (a VPN, by its name)"
		}
	}
	return ""
}

// free returns a subnet that nobody has, of those that the shim chooses from.
func free(used []Prefix, all []subnet) netip.Prefix {
	for third := 127; third <= 223; third++ {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(third), 0}), 24)
		if !slices.ContainsFunc(used, func(u Prefix) bool { return u.Bits() >= 8 && u.Overlaps(p) }) &&
			!slices.ContainsFunc(all, func(s subnet) bool { return s.Overlaps(p) }) {
			return p
		}
	}
	return netip.MustParsePrefix("10.127.0.0/24")
}
