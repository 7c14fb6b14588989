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

// maxRoutes is how many routes a request may have: as many as DHCP can tell.
const maxRoutes = 64

// takeAddress sees to the guest's address, if it has one.
func (s *Server) takeAddress(ctx context.Context, n *network, a *attachment, before *attachmentRecord) error {
	switch g := a.net.granted; {
	case g.IPAM == shim.IPAMStatic:
		return s.takeGiven(n, a)
	case g.IPAM == shim.IPAMNone || !g.Subnet.IsValid() && !g.Subnet6.IsValid():
		return nil
	}
	return s.takeLease(ctx, a, before)
}

// takeLease gets an address of each IP version that the network has: the wanted
// one, the one of an earlier life, or any.
func (s *Server) takeLease(ctx context.Context, a *attachment, before *attachmentRecord) error {
	req := leaseRequest(&a.rec, a.rec.pools(a.net.info.RangeEnd))
	for _, ip := range a.rec.Request.IPs {
		req.Want = append(req.Want, netip.MustParseAddr(ip)) // normalize left addresses only
	}
	if own := wanted6(&a.rec); own.IsValid() {
		if err := onlyOwn6(req.Want, own); err != nil {
			return err
		}
		req.Want = append(req.Want, own)
	}
	if before != nil && (before.Addr.IsValid() || before.Addr6.IsValid()) {
		req.Want = before.addrs()
	}
	if before != nil && s.unconfirmed { // what it held is still its own
		a.rec.Addr, a.rec.Addr6 = before.Addr, before.Addr6
		return nil
	}
	lease, err := s.cfg.Leases.Allocate(ctx, req)
	if err != nil {
		return leaseError(err)
	}
	if lease.Early {
		s.logOf(a.rec.Key).WithField("quarantine", req.Quarantine).Warn("no address but one in quarantine was free")
	}
	for _, p := range lease.Addrs {
		if p.Addr().Is4() {
			a.rec.Addr = p
		} else {
			a.rec.Addr6 = p
		}
	}
	if before == nil {
		a.undo.addDurable("lease", func(ctx context.Context) error { return s.cfg.Leases.Release(ctx, a.rec.Key) })
	}
	return nil
}

// onlyOwn6 refuses a wish for another IPv6 address than the one that the guest will
// make, and takes one for that as said.
func onlyOwn6(want []netip.Addr, own netip.Addr) error {
	for _, w := range want {
		if w.Is6() && w != own {
			return shim.Invalidf("ips", w.String(), "network.ipv6 is %q: the guest makes %s of its MAC", shim.IPSLAAC, own)
		}
	}
	return nil
}

// addrs are the addresses of the guest, IPv4 first.
func (r *attachmentRecord) addrs() (list []netip.Addr) {
	for _, p := range []netip.Prefix{r.Addr, r.Addr6} {
		if p.IsValid() {
			list = append(list, p.Addr())
		}
	}
	return list
}

// pools are where the attachment's addresses come from, IPv4 first. rangeEnd is
// NetworkInfo.RangeEnd.
func (r *attachmentRecord) pools(rangeEnd netip.Addr) (list []ipam.Pool) {
	if r.Granted.Subnet.IsValid() {
		list = append(list, ranged4(pool4(r.Granted, rangeEnd), r.Request.Ranges))
	}
	if r.Granted.Subnet6.IsValid() {
		list = append(list, pool6(r.Granted))
	}
	return list
}

// pool4 is where a network's IPv4 addresses come from. What a DHCP server of the
// system may give, those after the gateway up to rangeEnd, is left to it.
func pool4(n shim.NetworkSpec, rangeEnd netip.Addr) ipam.Pool {
	p := ipam.SubnetPool(n.Name, n.Subnet, n.Gateway)
	for a := n.Gateway.Next(); rangeEnd.IsValid() && a.IsValid() && !rangeEnd.Less(a); a = a.Next() {
		p.Exclude = append(p.Exclude, netip.PrefixFrom(a, a.BitLen()))
	}
	return p
}

// ranged4 is the network's pool p, or ranges of it. Pools of different ranges have
// different names, since a pool that changes with every request would be walked
// each time; an address is unique in the network all the same.
func ranged4(p ipam.Pool, ranges []shim.Range) ipam.Pool {
	if len(ranges) == 0 {
		return p
	}
	whole := p.Ranges[0]
	p.Ranges = nil
	var names []string
	for _, r := range ranges {
		p.Ranges = append(p.Ranges, ipam.Range{Subnet: whole.Subnet, Gateway: whole.Gateway, First: r.First, Last: r.Last})
		names = append(names, r.First.String()+"-"+r.Last.String())
	}
	p.Name = strings.Join(names, ",")
	return p
}

// takeGiven takes the address that the caller got elsewhere, which nobody else
// in the network may have.
func (s *Server) takeGiven(n *network, a *attachment) error {
	p := netip.MustParsePrefix(a.rec.Request.IPs[0]) // normalizeGiven left one
	s.mu.Lock()
	defer s.mu.Unlock()
	if by, ok := n.addrs[p.Addr()]; ok {
		return &shim.Error{Code: shim.CodeConflict, Key: "ips", Value: p.String(),
			Message: fmt.Sprintf("ips %q: another attachment of network %s has it%s", p, n.name, s.byLocked(by, a.rec.Owner))}
	}
	n.addrs[p.Addr()] = a.rec.Key
	a.rec.Addr = p
	a.undo.add("address", func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(n.addrs, p.Addr())
		return nil
	})
	return nil
}

// gateway is what the guest is told of its gateway, zero for none.
func (r *attachmentRecord) gateway() netip.Addr {
	if r.Granted.IPAM == shim.IPAMStatic {
		return r.Request.Gateway
	}
	return r.Granted.Gateway
}

// routes are those of the guest: what the caller brought, or the default routes
// where the network leads outside. A host network reaches nothing beyond its
// subnet.
func (a *attachment) routes() []shim.Route {
	g := a.rec.Granted
	switch {
	case g.IPAM == shim.IPAMStatic:
		return a.rec.Request.Routes
	case g.Mode == vmnet.Host:
		return nil
	}
	var list []shim.Route
	if g.Gateway.IsValid() {
		list = append(list, shim.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), GW: g.Gateway})
	}
	if g.Subnet6.IsValid() {
		list = append(list, shim.Route{Dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0), GW: a.gateway6()})
	}
	return list
}

// normalizeRanges checks where the allocator may take the address from.
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
	case !n.Subnet.IsValid():
		return shim.Invalidf("ranges", strconv.Itoa(len(r.Ranges)), "entries, want network.subnet with them")
	}
	first, last := vmnet.FirstAddr(n.Subnet), vmnet.LastAddr(n.Subnet)
	for i, x := range r.Ranges {
		text := x.First.String() + "-" + x.Last.String()
		if x.First.Less(first) || last.Less(x.Last) || x.Last.Less(x.First) || !x.First.Is4() || !x.Last.Is4() {
			return shim.Invalidf("ranges", text, "want addresses from %s to %s, the lower one first", first, last)
		}
		for _, y := range r.Ranges[:i] {
			if !x.Last.Less(y.First) && !y.Last.Less(x.First) {
				return shim.Invalidf("ranges", text, "overlaps %s-%s", y.First, y.Last)
			}
		}
	}
	pool := ipam.SubnetPool(n.Name, n.Subnet, n.Gateway)
	pool.Ranges[0].First, pool.Ranges[0].Last = r.Ranges[0].First, r.Ranges[0].Last
	if err := pool.Check(); len(r.Ranges) == 1 && err != nil {
		return shim.Invalidf("ranges", pool.Ranges[0].String(), "want one with an address for a guest: %v", err)
	}
	return nil
}

// normalizeGiven checks the address, the gateway and the routes that the caller
// got elsewhere.
func normalizeGiven(r *shim.AttachRequest) error {
	if r.Network.IPAM != shim.IPAMStatic {
		switch {
		case r.Gateway.IsValid():
			return shim.Invalidf("gateway", r.Gateway.String(), "want network.gateway, or network.ipam %q", shim.IPAMStatic)
		case len(r.Routes) > 0:
			return shim.Invalidf("routes", routeText(r.Routes[0]), "want none, or network.ipam %q", shim.IPAMStatic)
		}
		r.Routes = nil
		return nil
	}
	if len(r.IPs) != 1 {
		return shim.Invalidf("ips", strings.Join(r.IPs, ","), "want one IPv4 address with its length: network.ipam is %q", shim.IPAMStatic)
	}
	p, err := netip.ParsePrefix(r.IPs[0])
	if err != nil || !p.Addr().Is4() {
		return shim.Invalidf("ips", r.IPs[0], "want an IPv4 address with its length, as 192.168.127.9/24")
	}
	if r.Network.Mode != vmnet.Bridged {
		if err := checkGiven(r.Network, p); err != nil {
			return err
		}
	}
	r.IPs[0] = p.String()
	return normalizeRoutes(r)
}

// checkGiven checks a guest's address against its network.
func checkGiven(n shim.NetworkSpec, p netip.Prefix) error {
	if !n.Subnet.IsValid() {
		return shim.Invalidf("network.subnet", "", "want the subnet of the addresses that come from elsewhere")
	}
	first, last := vmnet.FirstAddr(n.Subnet), vmnet.LastAddr(n.Subnet)
	switch a := p.Addr(); {
	case p.Masked() != n.Subnet:
		return shim.Invalidf("ips", p.String(), "want an address of network.subnet %s, with its length", n.Subnet)
	case a.Less(first) || last.Less(a):
		return shim.Invalidf("ips", p.String(), "want an address from %s to %s", first, last)
	case a == n.Gateway:
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
	if r.Gateway.IsValid() && !r.Gateway.Is4() {
		return shim.Invalidf("gateway", r.Gateway.String(), "want an IPv4 address")
	}
	if len(r.Routes) > maxRoutes {
		return shim.Invalidf("routes", strconv.Itoa(len(r.Routes)), "entries, want at most %d", maxRoutes)
	}
	for i, x := range r.Routes {
		if !x.Dst.Addr().Is4() || x.GW.IsValid() && !x.GW.Is4() {
			return shim.Invalidf("routes", routeText(x), "want IPv4")
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
