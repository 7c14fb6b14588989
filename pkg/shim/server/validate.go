package server

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Limits of a request's texts, in bytes and items.
const (
	maxText = 255  // RequestID, Hostname, domains
	maxPath = 4096 // Sandbox: PATH_MAX
	maxList = 16   // name servers, search domains, options
)

// checkKey refuses names that cannot be those of an attachment.
func checkKey(k ipam.Key) error {
	if err := shim.CheckNetwork(k.Network); err != nil {
		return err
	}
	if err := shim.CheckContainerID(k.ContainerID); err != nil {
		return err
	}
	return shim.CheckIfName(k.IfName)
}

// normalize checks a request, fills in its defaults, and brings values that
// mean the same into one form, so that equal requests are equal.
func normalize(k ipam.Key, r *shim.AttachRequest) error {
	if r.Network.Name == "" {
		r.Network.Name = k.Network
	}
	if r.Network.Name != k.Network {
		return shim.Invalidf("network.name", r.Network.Name, "want %q as in the path", k.Network)
	}
	if err := normalizeSpec(&r.Network); err != nil {
		return err
	}
	for _, f := range []func(*shim.AttachRequest) error{normalizeFrames, normalizeMAC, normalizeIPs, normalizeRanges, normalizeLease, normalizeGiven, normalizeForwards, normalizeBandwidth, normalizeGuard, normalizeAliases, checkTexts} {
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}

func normalizeSpec(n *shim.NetworkSpec) error {
	if n.Driver == "" {
		n.Driver = shim.DriverAuto
	}
	if n.MTU == 0 {
		n.MTU = vmnet.DefaultMTU
	}
	switch drivers := []string{shim.DriverAuto, shim.DriverVmnet, shim.DriverNetstack, shim.DriverTap}; {
	case !slices.Contains(drivers, n.Driver):
		return shim.Invalidf("network.driver", n.Driver, "want one of %q", drivers)
	case n.MTU < vmnet.MinMTU || n.MTU > vmnet.MaxMTU:
		return shim.Invalidf("network.mtu", strconv.Itoa(n.MTU), "want %d to %d", vmnet.MinMTU, vmnet.MaxMTU)
	case n.Mode == vmnet.Bridged && n.Uplink == "":
		return shim.Invalidf("network.uplink", "", "mode bridged wants the name of an interface")
	case n.Mode != vmnet.Bridged && n.Uplink != "":
		return shim.Invalidf("network.uplink", n.Uplink, "mode %s has no uplink", n.Mode)
	}
	switch all := []string{shim.IPAMBuiltin, shim.IPAMNone, shim.IPAMStatic, shim.IPAMSystem}; {
	case !slices.Contains(all, n.IPAM):
		return shim.Invalidf("network.ipam", n.IPAM, "want one of %q", all)
	}
	for _, f := range []func(*shim.NetworkSpec) error{normalizeVersions, normalizeSubnet6, normalizeSubnet, normalizeSystem} {
		if err := f(n); err != nil {
			return err
		}
	}
	return normalizeDNS("network.dns", &n.DNS)
}

func normalizeSubnet(n *shim.NetworkSpec) error {
	switch {
	case n.IPv4 == shim.IPNone && n.Subnet.IsValid():
		return shim.Invalidf("network.subnet", n.Subnet.String(), "network.ipv4 is %q, want no subnet", n.IPv4)
	case !n.Subnet.IsValid() && n.Gateway.IsValid():
		return shim.Invalidf("network.gateway", n.Gateway.String(), "want network.subnet with it")
	case !n.Subnet.IsValid():
		return nil
	case n.IPAM == shim.IPAMNone:
		return shim.Invalidf("network.subnet", n.Subnet.String(), "ipam %q is layer 2 only, want no subnet", shim.IPAMNone)
	case !n.Subnet.Addr().Is4():
		return shim.Invalidf("network.subnet", n.Subnet.String(), "want an IPv4 subnet")
	case n.Subnet != n.Subnet.Masked():
		return shim.Invalidf("network.subnet", n.Subnet.String(), "has host bits, want %s", n.Subnet.Masked())
	case n.Subnet.Bits() < 8 || n.Subnet.Bits() > 29:
		return shim.Invalidf("network.subnet", n.Subnet.String(), "want a length of 8 to 29 bits")
	}
	if !n.Gateway.IsValid() {
		n.Gateway = vmnet.FirstAddr(n.Subnet)
	}
	first, last := vmnet.FirstAddr(n.Subnet), vmnet.LastAddr(n.Subnet)
	if !n.Gateway.Is4() || n.Gateway.Less(first) || last.Less(n.Gateway) {
		return shim.Invalidf("network.gateway", n.Gateway.String(), "want an address from %s to %s", first, last)
	}
	return nil
}

func normalizeDNS(key string, d *shim.DNS) error {
	for name, list := range map[string]*[]string{"nameservers": &d.Nameservers, "search": &d.Search, "options": &d.Options} {
		if len(*list) > maxList {
			return shim.Invalidf(key+"."+name, strconv.Itoa(len(*list)), "entries, want at most %d", maxList)
		}
		if len(*list) == 0 {
			*list = nil
		}
	}
	for _, s := range d.Nameservers {
		if _, err := netip.ParseAddr(s); err != nil {
			return shim.Invalidf(key+".nameservers", s, "want IP addresses")
		}
	}
	if d.Domain != "" && !isDomain(d.Domain) {
		return shim.Invalidf(key+".domain", d.Domain, "want a DNS domain")
	}
	for _, s := range d.Search {
		if !isDomain(s) {
			return shim.Invalidf(key+".search", s, "want DNS domains")
		}
	}
	for _, s := range d.Options {
		if !isPlain(s, maxText) {
			return shim.Invalidf(key+".options", s, "want printable text of 1 to %d bytes", maxText)
		}
	}
	return nil
}

func normalizeFrames(r *shim.AttachRequest) error {
	switch r.Frames {
	case "":
		r.Frames = shim.FramesDgram
	case shim.FramesDgram, shim.FramesStream:
	case shim.FramesTap:
		if r.Network.Driver != shim.DriverTap {
			return unsupported("frames", r.Frames, fmt.Sprintf("driver %s has no taps, want network.driver %q", r.Network.Driver, shim.DriverTap))
		}
	default:
		return shim.Invalidf("frames", r.Frames, "want %q, %q or %q", shim.FramesDgram, shim.FramesStream, shim.FramesTap)
	}
	switch {
	case r.VnetHeader && !r.Network.Offload:
		return shim.Invalidf("vnetHeader", "true", "want it with network.offload true only: it tells of segments that cross in one piece")
	case r.VnetHeader && r.Frames == shim.FramesTap:
		return shim.Invalidf("vnetHeader", "true", "want it with frames %q or %q only: with network.offload a tap has a header of its own", shim.FramesDgram, shim.FramesStream)
	}
	return nil
}

func normalizeMAC(r *shim.AttachRequest) error {
	if r.MAC == "" {
		return nil
	}
	mac, err := net.ParseMAC(r.MAC)
	switch {
	case err != nil || len(mac) != 6:
		return shim.Invalidf("mac", r.MAC, "want six bytes in hexadecimal, as 02:00:00:00:00:01")
	case mac[0]&1 != 0:
		return shim.Invalidf("mac", r.MAC, "is a group address, want one whose first byte is even")
	case bytes.Equal(mac, make([]byte, 6)):
		return shim.Invalidf("mac", r.MAC, "want an address that is not zero")
	}
	r.MAC = mac.String()
	return nil
}

func normalizeIPs(r *shim.AttachRequest) error {
	if len(r.IPs) == 0 {
		r.IPs = nil
		return nil
	}
	switch {
	case r.Network.IPAM == shim.IPAMStatic:
		return nil // normalizeGiven looks at them
	case !tellsAddresses(r.Network):
		return shim.Invalidf("ips", strings.Join(r.IPs, ","), "with ipam %q the shim gives no addresses, want none", r.Network.IPAM)
	case len(r.IPs) > 2:
		return shim.Invalidf("ips", strings.Join(r.IPs, ","), "want at most one address of each IP version")
	}
	for i := range r.IPs {
		if err := normalizeIP(r, i); err != nil {
			return err
		}
	}
	slices.SortFunc(r.IPs, func(a, b string) int { return netip.MustParseAddr(a).Compare(netip.MustParseAddr(b)) })
	if len(r.IPs) == 2 && netip.MustParseAddr(r.IPs[0]).Is4() == netip.MustParseAddr(r.IPs[1]).Is4() {
		return shim.Invalidf("ips", strings.Join(r.IPs, ","), "want at most one address of each IP version")
	}
	return nil
}

// normalizeIP checks the wanted address i and leaves it without its length.
func normalizeIP(r *shim.AttachRequest, i int) error {
	a, err := netip.ParseAddr(r.IPs[i])
	if p, perr := netip.ParsePrefix(r.IPs[i]); perr == nil {
		a, err = p.Addr(), nil
		n, key := r.Network.Subnet, "network.subnet"
		if a.Is6() {
			n, key = r.Network.Subnet6, "network.subnet6"
		}
		if n.IsValid() && p.Bits() != n.Bits() && p.Bits() != a.BitLen() {
			return shim.Invalidf("ips", r.IPs[i], "want /%d as %s has", n.Bits(), key)
		}
	}
	version := r.Network.IPv4
	if a.Is6() {
		version = r.Network.IPv6
	}
	switch {
	case err != nil || a.Is4In6() || a.Zone() != "":
		return shim.Invalidf("ips", r.IPs[i], "want an address, as 192.168.127.9 or 192.168.127.9/24")
	case version == shim.IPNone:
		return shim.Invalidf("ips", r.IPs[i], "the network does not have this IP version")
	}
	r.IPs[i] = a.String()
	return nil
}

func checkTexts(r *shim.AttachRequest) error {
	switch {
	case r.RequestID != "" && !isPlain(r.RequestID, maxText):
		return shim.Invalidf("requestID", r.RequestID, "want printable text of at most %d bytes", maxText)
	case r.Hostname != "" && !isDomain(r.Hostname):
		return shim.Invalidf("hostname", r.Hostname, "want a DNS name")
	case r.Sandbox != "" && !isPlain(r.Sandbox, maxPath):
		return shim.Invalidf("sandbox", r.Sandbox, "want printable text of at most %d bytes", maxPath)
	}
	return normalizeDNS("dns", &r.DNS)
}

func isPlain(s string, limit int) bool {
	return s != "" && len(s) <= limit && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// isDomain reports whether s is a host or domain name: labels of 1 to 63
// letters, digits, hyphens and, as systems in the field have them, underscores
// (RFC 1123, section 2.1; RFC 2181, section 11).
func isDomain(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return false
			}
		}
	}
	return true
}
