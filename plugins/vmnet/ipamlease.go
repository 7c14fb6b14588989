package main

import (
	"fmt"
	"net/netip"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// newLease takes from the result what a guest gets by DHCP and router
// advertisements, and refuses what it cannot get.
func newLease(res *types100.Result, what string) (*lease, error) {
	if len(res.IPs) == 0 {
		return nil, errorf(codeConfig, "%s: gave no address: want one", what)
	}
	l := &lease{routes: res.Routes, DNS: shim.DNS{
		Nameservers: res.DNS.Nameservers, Domain: res.DNS.Domain, Search: res.DNS.Search, Options: res.DNS.Options,
	}}
	for _, ip := range res.IPs {
		p, ok := prefixOf(ip.Address)
		if !ok {
			return nil, errorf(codeConfig, "%s: address %s: want one with a prefix length", what, ip.Address.String())
		}
		addr, gateway := &l.Addr, &l.Gateway
		if p.Addr().Is6() {
			addr, gateway = &l.Addr6, &l.Gateway6
		}
		if addr.IsValid() {
			return nil, errorf(codeUnsupported, "%s: addresses %s and %s: not supported: DHCP gives a guest one of an IP version", what, addr, p)
		}
		*addr, *gateway = p, addrOf(ip.Gateway)
		if gateway.IsValid() && gateway.Is4() != p.Addr().Is4() {
			return nil, errorf(codeConfig, "%s: gateway %s: want an address of the IP version of %s", what, gateway, p)
		}
	}
	return l, l.takeRoutes(res, what)
}

// takeRoutes takes the routes that a guest can be told.
func (l *lease) takeRoutes(res *types100.Result, what string) error {
	for _, r := range res.Routes {
		dst, ok := prefixOf(r.Dst)
		gw, addr := addrOf(r.GW), l.Addr
		if !gw.IsValid() { // specification 1.1.0, section 5: the address's may be used then
			if gw = l.Gateway; dst.Addr().Is6() {
				gw = l.Gateway6
			}
		}
		if dst.Addr().Is6() {
			addr = l.Addr6
		}
		switch {
		case !ok || gw.IsValid() && gw.Is4() != dst.Addr().Is4():
			return errorf(codeConfig, "%s: route %s: want destination and gateway of one IP version", what, r.String())
		case !addr.IsValid():
			return errorf(codeUnsupported, "%s: route %s: not supported: the guest has no address of this IP version", what, r.String())
		case dst.Addr().Is6() && dst.Bits() != 0:
			return errorf(codeUnsupported, "%s: route %s: not supported: of IPv6 a guest is told the default route only", what, r.String())
		}
		l.Routes = append(l.Routes, shim.Route{Dst: dst.Masked(), GW: gw})
	}
	return nil
}

// fit compares the lease with the network, whose subnets and gateway are the
// lease's where the configuration leaves them open. A bridged network is the
// uplink's: it has none here.
func (l *lease) fit(spec *shim.NetworkSpec, what string) error {
	if spec.Mode == vmnet.Bridged {
		if l.Addr6.IsValid() {
			return errorf(codeUnsupported, "%s: address %s: not supported: in mode bridged guests have the IPv6 of the uplink's network", what, l.Addr6)
		}
		return nil
	}
	if err := l.fit6(spec, what); err != nil || !l.Addr.IsValid() {
		return err
	}
	refuse := func(want string, args ...any) error {
		return errorf(codeConfig, "%s: address %s: want %s", what, l.Addr, fmt.Sprintf(want, args...))
	}
	if spec.IPv4 == shim.IPNone {
		return refuse("none of IPv4: ipv4 is %s", spec.IPv4)
	}
	subnet := l.Addr.Masked()
	if spec.Subnet.IsValid() && subnet != spec.Subnet {
		return refuse("an address of the network's subnet %s, with its prefix length", spec.Subnet)
	}
	if want := wantSubnet(subnet); want != "" {
		return refuse("%s", want)
	}
	spec.Subnet = subnet
	if err := l.fitGateway(spec, what); err != nil {
		return err
	}
	first, last := vmnet.FirstAddr(subnet), vmnet.LastAddr(subnet)
	switch a := l.Addr.Addr(); {
	case a.Less(first) || last.Less(a):
		return refuse("one that a host can have: %s to %s", first, last)
	case a == spec.Gateway:
		return refuse("another than the gateway's; a network without a gateway of its own in the configuration or from ipam has the first")
	case a == last && spec.HostLoopback:
		return refuse("another: hostLoopback uses the last one of subnet %s", subnet)
	}
	return nil
}

// fitGateway compares the lease's IPv4 gateway with the network's, or makes it that.
func (l *lease) fitGateway(spec *shim.NetworkSpec, what string) error {
	first, last := vmnet.FirstAddr(spec.Subnet), vmnet.LastAddr(spec.Subnet)
	switch {
	case l.Gateway.IsValid() && (l.Gateway.Less(first) || last.Less(l.Gateway)):
		return errorf(codeConfig, "%s: gateway %s: want an address of subnet %s: %s to %s", what, l.Gateway, spec.Subnet, first, last)
	case spec.Gateway.IsValid() && l.Gateway.IsValid() && l.Gateway != spec.Gateway:
		return errorf(codeConfig, "%s: gateway %s: want the network's, %s", what, l.Gateway, spec.Gateway)
	case l.Gateway.IsValid():
		spec.Gateway = l.Gateway
	case !spec.Gateway.IsValid():
		spec.Gateway = first
	}
	return nil
}

// fit6 is fit for IPv6, whose gateway has the first address of the subnet. A lease
// without an IPv4 address makes a network without IPv4 of one that names no subnet.
func (l *lease) fit6(spec *shim.NetworkSpec, what string) error {
	if !l.Addr.IsValid() && !spec.Subnet.IsValid() {
		spec.IPv4 = shim.IPNone
	}
	if !l.Addr6.IsValid() {
		return nil
	}
	refuse := func(want string, args ...any) error {
		return errorf(codeConfig, "%s: address %s: want %s", what, l.Addr6, fmt.Sprintf(want, args...))
	}
	subnet := l.Addr6.Masked()
	if spec.IPv6 == shim.IPNone {
		return refuse("none of IPv6: ipv6 is %s", spec.IPv6)
	}
	if want := wantSubnet6(subnet); want != "" {
		return refuse("%s", want)
	}
	if spec.Subnet6.IsValid() && subnet != spec.Subnet6 {
		return refuse("an address of the network's subnet6 %s", spec.Subnet6)
	}
	spec.Subnet6 = subnet
	first := vmnet.FirstAddr(subnet)
	switch a := l.Addr6.Addr(); {
	case l.Gateway6.IsValid() && l.Gateway6 != first:
		return errorf(codeConfig, "%s: gateway %s: want the network's, %s", what, l.Gateway6, first)
	case a == subnet.Addr() || a == first:
		return refuse("another than the gateway's, %s, and the routers' anycast address before it", first)
	case a == vmnet.LastAddr(subnet) && spec.HostLoopback:
		return refuse("another: hostLoopback uses the last one of subnet %s", subnet)
	}
	return nil
}

// given refuses a lease without an address that the runtime asked for: what was
// declared as a capability is not ignored.
func (w *wanted) given(l *lease, what string) error {
	for _, s := range w.IPs {
		a, err := netip.ParseAddr(s)
		if p, perr := netip.ParsePrefix(s); perr == nil {
			a, err = p.Addr(), nil
		}
		if a = a.Unmap(); err != nil || a != l.Addr.Addr() && a != l.Addr6.Addr() {
			return errorf(codeConflict, "%s %s: %s gave %s instead", w.ipsFrom, show(w.IPs), what, l.ips())
		}
	}
	return nil
}

// ips are the addresses as the shim takes them, IPv4 first.
func (l *lease) ips() (list []string) {
	for _, p := range []netip.Prefix{l.Addr, l.Addr6} {
		if p.IsValid() {
			list = append(list, p.String())
		}
	}
	return list
}
