package main

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// validate checks values whose types are right, alone and against each other.
// Every check is made, whatever the others find.
func (c *config) validate() error {
	var all problems
	for _, check := range []func() error{
		c.checkChoices, c.checkVersions, c.checkSubnet, c.checkSubnet6, c.checkMode, c.checkGuard, c.wanted.refuseUnbuilt, c.checkRanges, c.checkWanted,
	} {
		all.add(check())
	}
	return all.err()
}

// checkChoices checks the keys that have a few values.
func (c *config) checkChoices() error {
	switch c.Spec.Driver {
	case "", shim.DriverAuto, shim.DriverVmnet, shim.DriverNetstack, shim.DriverTap:
	default:
		return badValue("driver", c.Spec.Driver, "auto, vmnet, netstack or tap")
	}
	if c.VnetHeader && !c.Spec.Offload {
		return badValue("vnetHeader", true, "offload true with it: the header tells of segments that cross in one piece")
	}
	if c.VnetHeader && c.Frames == shim.FramesTap {
		return badValue("vnetHeader", true, "frames dgram or stream with it: a tap with offload has a header of its own")
	}
	switch c.Frames {
	case "":
		c.Frames = shim.FramesDgram
	case shim.FramesDgram, shim.FramesStream:
	case shim.FramesTap:
		if c.Spec.Driver != shim.DriverTap {
			return badValue("frames", c.Frames, "dgram or stream, or driver tap with it")
		}
	default:
		return badValue("frames", c.Frames, "dgram, stream or tap")
	}
	return nil
}

// checkVersions checks which IP versions guests get.
func (c *config) checkVersions() error {
	s := c.Spec
	own := s.IPAM == shim.IPAMBuiltin && s.Mode != vmnet.Bridged
	may := s.IPAM != shim.IPAMNone && s.Mode != vmnet.Bridged
	switch {
	case !slices.Contains([]string{"", shim.IPManaged, shim.IPNone}, s.IPv4):
		return badValue("ipv4", s.IPv4, "managed or none")
	case !slices.Contains([]string{"", shim.IPManaged, shim.IPSLAAC, shim.IPNone}, s.IPv6):
		return badValue("ipv6", s.IPv6, "managed, slaac or none")
	case s.IPv4 == shim.IPNone && s.IPv6 == shim.IPNone:
		return badValue("ipv6", s.IPv6, "managed or slaac, or ipam.type none: ipv4 is none too")
	case s.IPv4 == shim.IPNone && !may:
		return notBuilt("ipv4", s.IPv4, "in mode bridged and without ipam guests get no IPv6 from here")
	case s.IPv6 == shim.IPSLAAC && !own:
		return notBuilt("ipv6", s.IPv6, "without the built-in allocator the guest does not make its address by itself")
	case s.Subnet6.IsValid() && !may:
		return notBuilt("subnet6", s.Subnet6, "in mode bridged and without ipam guests get no IPv6 from here; want no such key")
	}
	return nil
}

// checkSubnet6 checks the IPv6 subnet.
func (c *config) checkSubnet6() error {
	p := c.Spec.Subnet6
	if !p.IsValid() {
		return nil
	}
	if c.Spec.IPv6 == shim.IPNone {
		return badValue("subnet6", p, "no such key, or another ipv6 than none")
	}
	if want := wantSubnet6(p); want != "" {
		return badValue("subnet6", p, "%s", want)
	}
	return nil
}

// wantSubnet6 returns what an IPv6 subnet should be that p is not, or "".
func wantSubnet6(p netip.Prefix) string {
	switch a := p.Addr(); {
	case !a.Is6() || a.Is4In6() || p.Bits() != 64:
		return `an IPv6 subnet of 64 bits, as "fd5e:ed00:127::/64"`
	case p != p.Masked():
		return "the subnet's own address, " + p.Masked().String()
	case a.IsMulticast() || a.IsLinkLocalUnicast() || a.As16()[0] == 0:
		return "a subnet of unique local or global addresses"
	}
	return ""
}

// checkMode checks what a mode needs and what it excludes.
func (c *config) checkMode() error {
	s := c.Spec
	if s.Mode != vmnet.Bridged {
		if s.Uplink != "" {
			return badValue("uplink", s.Uplink, "no such key, or mode bridged: mode %s has no uplink", s.Mode)
		}
		return nil
	}
	switch {
	case s.Uplink == "":
		return badValue("uplink", "", "the interface to bridge to, as %q: mode bridged needs it", "en0")
	case shim.CheckIfName(s.Uplink) != nil:
		return badValue("uplink", s.Uplink, "the name of an interface, as %q", "en0")
	case s.Subnet.IsValid():
		return badValue("subnet", s.Subnet, "no such key: in mode bridged the uplink's network has its own")
	case s.Gateway.IsValid():
		return badValue("gateway", s.Gateway, "no such key: in mode bridged the uplink's network has its own")
	case s.HostLoopback:
		return badValue("hostLoopback", true, "false: mode bridged has no address for the host's loopback")
	}
	return nil
}

// checkGuard checks what guests may send.
func (c *config) checkGuard() error {
	if ip := c.Guard.IP; ip != nil && *ip && !c.givesAddresses() {
		return badValue("guard.ip", true, "false, or no such key: the network gives no addresses, and so it is not known which are right")
	}
	for _, l := range []struct {
		key  string
		list []netip.Prefix
	}{{"guard.allow", c.Guard.Allow}, {"guard.deny", c.Guard.Deny}} {
		if len(l.list) > shim.MaxGuardPrefixes {
			return badValue(l.key, len(l.list), "at most %d subnets", shim.MaxGuardPrefixes)
		}
		for _, p := range l.list {
			switch {
			case !p.IsValid() || p.Addr().Is4In6():
				return badValue(l.key, l.list, `a list of subnets, as ["10.0.0.0/8"]`)
			case p != p.Masked():
				return badValue(l.key, p, "the subnet's own address, %s", p.Masked())
			}
		}
	}
	return nil
}

// checkSubnet checks subnet and gateway.
func (c *config) checkSubnet() error {
	s := c.Spec
	if !s.Subnet.IsValid() {
		if s.Gateway.IsValid() {
			return badValue("gateway", s.Gateway, "key subnet with it: an address without its subnet says nothing")
		}
		return nil
	}
	if s.IPAM == shim.IPAMNone {
		return badValue("subnet", s.Subnet, "no such key: ipam.type none is layer 2 only")
	}
	if s.IPv4 == shim.IPNone {
		return badValue("subnet", s.Subnet, "no such key, or another ipv4 than none")
	}
	if want := wantSubnet(s.Subnet); want != "" {
		return badValue("subnet", s.Subnet, "%s", want)
	}
	return c.checkGateway()
}

// wantSubnet returns what a subnet should be that p is not, or "".
func wantSubnet(p netip.Prefix) string {
	a := p.Addr()
	switch {
	case !a.Is4():
		return "an IPv4 subnet, as \"192.168.127.0/24\"; IPv6 goes into subnet6"
	case p != p.Masked():
		return "the subnet's own address, " + p.Masked().String()
	case p.Bits() < 8 || p.Bits() > 29:
		return "a prefix length of 8 to 29"
	case a.IsLoopback() || a.IsMulticast() || a.As4()[0] == 0 || a.As4()[0] >= 224:
		return "a subnet of unicast addresses"
	}
	return ""
}

func (c *config) checkGateway() error {
	s := c.Spec
	gw, first, last := s.Gateway, vmnet.FirstAddr(s.Subnet), vmnet.LastAddr(s.Subnet)
	if !gw.IsValid() {
		return nil
	}
	if gw.Less(first) || last.Less(gw) {
		return badValue("gateway", gw, "an address of subnet %s: %s to %s", s.Subnet, first, last)
	}
	if s.HostLoopback && gw == last {
		return badValue("gateway", gw, "another address: hostLoopback uses the last one of subnet %s", s.Subnet)
	}
	return nil
}

// checkWanted checks wanted addresses against the network.
func (c *config) checkWanted() error {
	return c.wanted.check(c.Spec)
}

// checkDNS checks the addresses and names in d. The names of the keys differ
// between "dns" and "runtimeConfig.dns".
func checkDNS(path string, d shim.DNS, servers, searches string) error {
	for _, s := range d.Nameservers {
		if a, err := netip.ParseAddr(s); err != nil || a.Zone() != "" {
			return badValue(path+"."+servers, s, "addresses, as \"192.168.127.1\"")
		}
	}
	if d.Domain != "" && !isDomain(d.Domain) {
		return badValue(path+".domain", d.Domain, "a domain name")
	}
	for _, s := range d.Search {
		if !isDomain(s) {
			return badValue(path+"."+searches, s, "domain names, as \"vm.internal\"")
		}
	}
	if slices.Contains(d.Options, "") {
		return badValue(path+".options", d.Options, "texts that are not empty")
	}
	return nil
}

// isDomain reports whether s is a domain name that fits a message (RFC 1035,
// section 2.3.4: labels of 63, names of 255 bytes).
func isDomain(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

// isLabel reports whether s is one label: letters, digits, inner hyphens, and
// the underscore that real networks use.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		isLetter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !isLetter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
