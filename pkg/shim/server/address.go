package server

import (
	"context"
	"errors"
	"net/netip"
	"slices"
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
	case !tellsAddresses(g) || !g.Subnet.IsValid() && !g.Subnet6.IsValid():
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
	if before != nil && s.unconfirmed.Load() { // what it held is still its own
		a.rec.Addr, a.rec.Addr6 = before.Addr, before.Addr6
		return nil
	}
	lease, err := s.cfg.Leases.Allocate(ctx, req)
	if errors.Is(err, ipam.ErrUnavailable) && before == nil {
		s.arrears.oweStray(a.rec.Key) // the answer may be lost, and the lease there
	}
	if err != nil {
		return s.takenBy(leaseError(err), err, a.rec.Owner)
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

// takenBy adds to an error of the API who holds the address that it is about, if the
// user may know.
func (s *Server) takenBy(e *shim.Error, cause error, uid uint32) error {
	var taken *ipam.TakenError
	if !errors.As(cause, &taken) {
		return e
	}
	if uid == 0 { // who sees the leases of all, those of other machines too
		e.Message += ": " + taken.By.String()
		return e
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.Message += s.byLocked(taken.By, uid)
	return e
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
		list = append(list, ranged(pool4(r.Granted, rangeEnd), r.Request.Ranges))
	}
	if r.Granted.Subnet6.IsValid() {
		list = append(list, ranged(pool6(r.Granted), r.Request.Ranges))
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

// ranged is the network's pool p, or the ranges of its IP version. Pools of different ranges have
// different names, since a pool that changes with every request would be walked
// each time; an address is unique in the network all the same.
func ranged(p ipam.Pool, ranges []shim.Range) ipam.Pool {
	whole := p.Ranges[0]
	ranges = slices.DeleteFunc(slices.Clone(ranges), func(r shim.Range) bool { return r.First.Is4() != whole.Subnet.Addr().Is4() })
	if len(ranges) == 0 {
		return p
	}
	p.Ranges = nil
	var names []string
	for _, r := range ranges {
		p.Ranges = append(p.Ranges, ipam.Range{Subnet: whole.Subnet, Gateway: whole.Gateway, First: r.First, Last: r.Last})
		names = append(names, r.First.String()+"-"+r.Last.String())
	}
	p.Name = strings.Join(names, ",")
	return p
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
	case g.Mode == vmnet.Host || g.IPAM == shim.IPAMSystem:
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
