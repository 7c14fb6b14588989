package server

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// takeGiven takes the addresses that the caller got elsewhere, which nobody else
// in the network may have.
func (s *Server) takeGiven(n *network, a *attachment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var given []netip.Prefix
	for _, text := range a.rec.Request.IPs {
		p := netip.MustParsePrefix(text) // normalizeGiven left such
		if by, ok := n.addrs[p.Addr()]; ok {
			return &shim.Error{Code: shim.CodeConflict, Key: "ips", Value: p.String(),
				Message: fmt.Sprintf("ips %q: another attachment of network %s has it%s", p, n.name, s.byLocked(by, a.rec.Owner))}
		}
		given = append(given, p)
	}
	for _, p := range given {
		n.addrs[p.Addr()] = a.rec.Key
		if p.Addr().Is4() {
			a.rec.Addr = p
		} else {
			a.rec.Addr6 = p
		}
	}
	a.undo.add("address", func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range given {
			delete(n.addrs, p.Addr())
		}
		return nil
	})
	return nil
}

// normalizeGiven checks the addresses, the gateways and the routes that the caller
// got elsewhere.
func normalizeGiven(r *shim.AttachRequest) error {
	if r.Network.IPAM != shim.IPAMStatic {
		return noneGiven(r)
	}
	if len(r.IPs) != 1 && len(r.IPs) != 2 {
		return shim.Invalidf("ips", strings.Join(r.IPs, ","), "want an address of each IP version of the network, with its length: network.ipam is %q", shim.IPAMStatic)
	}
	for i := range r.IPs {
		p, err := netip.ParsePrefix(r.IPs[i])
		if err != nil || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			return shim.Invalidf("ips", r.IPs[i], "want an address with its length, as 192.168.127.9/24")
		}
		if i == 1 && p.Addr().Is4() == netip.MustParsePrefix(r.IPs[0]).Addr().Is4() {
			return shim.Invalidf("ips", strings.Join(r.IPs, ","), "want at most one address of each IP version")
		}
		if err := checkGiven(r.Network, p); err != nil {
			return err
		}
		r.IPs[i] = p.String()
	}
	return normalizeRoutes(r)
}

// noneGiven refuses what only comes with addresses from elsewhere.
func noneGiven(r *shim.AttachRequest) error {
	switch {
	case r.Gateway.IsValid():
		return shim.Invalidf("gateway", r.Gateway.String(), "want network.gateway, or network.ipam %q", shim.IPAMStatic)
	case r.Gateway6.IsValid():
		return shim.Invalidf("gateway6", r.Gateway6.String(), "want none, or network.ipam %q", shim.IPAMStatic)
	case len(r.Routes) > 0:
		return shim.Invalidf("routes", routeText(r.Routes[0]), "want none, or network.ipam %q", shim.IPAMStatic)
	}
	r.Routes = nil
	return nil
}

// checkGiven checks a guest's address against its network. A bridged one is the
// uplink's: it has no subnet here, and no IPv6 of the shim's.
func checkGiven(n shim.NetworkSpec, p netip.Prefix) error {
	subnet, gateway, key := n.Subnet, n.Gateway, "network.subnet"
	if p.Addr().Is6() {
		subnet, gateway, key = n.Subnet6, gateway6(n), "network.subnet6"
		if n.Mode == vmnet.Bridged {
			return unsupported("ips", p.String(), "in mode bridged guests have the IPv6 of the uplink's network")
		}
	}
	if n.Mode == vmnet.Bridged {
		return nil
	}
	if !subnet.IsValid() {
		return shim.Invalidf(key, "", "want the subnet of the addresses that come from elsewhere")
	}
	first, last := vmnet.FirstAddr(subnet), vmnet.LastAddr(subnet)
	switch a := p.Addr(); {
	case p.Masked() != subnet:
		return shim.Invalidf("ips", p.String(), "want an address of %s %s, with its length", key, subnet)
	case a.Less(first) || last.Less(a):
		return shim.Invalidf("ips", p.String(), "want an address from %s to %s", first, last)
	case a == gateway:
		return shim.Invalidf("ips", p.String(), "is the gateway's")
	case n.HostLoopback && a == last:
		return shim.Invalidf("ips", p.String(), "network.hostLoopback uses it")
	}
	return nil
}

func normalizeRoutes(r *shim.AttachRequest) error {
	if len(r.Routes) == 0 {
		r.Routes = nil
	}
	switch {
	case r.Gateway.IsValid() && !r.Gateway.Is4():
		return shim.Invalidf("gateway", r.Gateway.String(), "want an IPv4 address")
	case r.Gateway6.IsValid() && (!r.Gateway6.Is6() || r.Gateway6.Is4In6() || !r.Network.Subnet6.IsValid()):
		return shim.Invalidf("gateway6", r.Gateway6.String(), "want an IPv6 address, with network.subnet6")
	case len(r.Routes) > maxRoutes:
		return shim.Invalidf("routes", strconv.Itoa(len(r.Routes)), "entries, want at most %d", maxRoutes)
	}
	for i, x := range r.Routes {
		if x.GW.IsValid() && x.GW.Is4() != x.Dst.Addr().Is4() {
			return shim.Invalidf("routes", routeText(x), "want destination and gateway of one IP version")
		}
		if x.Dst.Addr().Is6() && (x.Dst.Bits() != 0 || !r.Network.Subnet6.IsValid()) {
			return shim.Invalidf("routes", routeText(x), "want no IPv6 route but the default one of a network with subnet6: advertisements tell no other")
		}
		r.Routes[i].Dst = x.Dst.Masked()
	}
	return nil
}

func routeText(r shim.Route) string {
	if !r.GW.IsValid() {
		return r.Dst.String()
	}
	return r.Dst.String() + " via " + r.GW.String()
}

// normalizeRanges checks where the allocator may take the addresses from.
func normalizeRanges(r *shim.AttachRequest) error {
	if len(r.Ranges) == 0 {
		r.Ranges = nil
		return nil
	}
	n := r.Network
	switch {
	case len(r.Ranges) > maxList:
		return shim.Invalidf("ranges", strconv.Itoa(len(r.Ranges)), "entries, want at most %d", maxList)
	case n.IPAM != shim.IPAMBuiltin:
		return shim.Invalidf("ranges", strconv.Itoa(len(r.Ranges)), "entries, want none: ipam %q does not allocate", n.IPAM)
	}
	var of4, of6 []shim.Range
	for i, x := range r.Ranges {
		text := x.First.String() + "-" + x.Last.String()
		subnet, key := n.Subnet, "network.subnet"
		if x.First.Is6() {
			subnet, key = n.Subnet6, "network.subnet6"
			of6 = append(of6, x)
		} else {
			of4 = append(of4, x)
		}
		if !subnet.IsValid() {
			return shim.Invalidf("ranges", text, "want %s with it", key)
		}
		first, last := vmnet.FirstAddr(subnet), vmnet.LastAddr(subnet)
		if x.First.Less(first) || last.Less(x.Last) || x.Last.Less(x.First) || x.First.Is4() != x.Last.Is4() || x.First.Zone() != "" || x.Last.Zone() != "" {
			return shim.Invalidf("ranges", text, "want addresses from %s to %s, the lower one first", first, last)
		}
		for _, y := range r.Ranges[:i] {
			if !x.Last.Less(y.First) && !y.Last.Less(x.First) {
				return shim.Invalidf("ranges", text, "overlaps %s-%s", y.First, y.Last)
			}
		}
	}
	if n.IPv6 == shim.IPSLAAC && len(of6) > 0 {
		return shim.Invalidf("ranges", of6[0].First.String()+"-"+of6[0].Last.String(), "want none of IPv6: network.ipv6 is %q", n.IPv6)
	}
	for _, one := range [][]shim.Range{of4, of6} {
		if err := checkSingle(n, one); err != nil {
			return err
		}
	}
	return nil
}

// checkSingle refuses a single range without an address for a guest.
func checkSingle(n shim.NetworkSpec, ranges []shim.Range) error {
	if len(ranges) != 1 {
		return nil
	}
	pool := ipam.SubnetPool(n.Name, n.Subnet, n.Gateway)
	if ranges[0].First.Is6() {
		pool = pool6(n)
	}
	pool.Ranges[0].First, pool.Ranges[0].Last = ranges[0].First, ranges[0].Last
	if err := pool.Check(); err != nil {
		return shim.Invalidf("ranges", pool.Ranges[0].String(), "want one with an address for a guest: %v", err)
	}
	return nil
}
