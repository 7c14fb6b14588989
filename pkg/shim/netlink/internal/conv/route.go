package conv

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
)

// Route returns the route that a message tells of. False: it is a neighbour, a
// route made from another for one destination, or none of IP. Routes to the
// host's own addresses, and broadcast and multicast routes, are in the table
// "local", as on Linux.
func Route(m *bsd.RouteMsg) (netlink.Route, bool) {
	if m.Flags&(bsd.RtfLLInfo|bsd.RtfWasCloned) != 0 && m.Flags&bsd.RtfLocal == 0 {
		return netlink.Route{}, false
	}
	dst := netOf(m.Dst, routeBits(m))
	if dst == nil {
		return netlink.Route{}, false
	}
	r := netlink.Route{
		Dst: dst, LinkIndex: int(m.Index), Family: int(m.Dst.Family),
		Table: TableMain, Type: kind(m.Flags), Protocol: protocol(m.Flags), MTU: int(m.Metrics.MTU),
		Src: ipOf(m.Ifa.IP), Hoplimit: int(m.Metrics.HopCount),
	}
	if m.Flags&bsd.RtfGateway != 0 && m.Gateway.IP.IsValid() {
		r.Gw = ipOf(m.Gateway.IP)
	} else {
		r.Scope = scopeLink
	}
	switch r.Type {
	case rtnLocal:
		r.Table, r.Scope, r.Gw = TableLocal, scopeHost, nil
	case rtnBroadcast, rtnMulticast:
		r.Table = TableLocal
	case rtnBlackhole, rtnUnreachable:
		r.Scope, r.Gw, r.LinkIndex = scopeUniverse, nil, 0
	}
	return r, true
}

// routeBits returns the length of the destination. A host route has no mask; a
// default route may have none either.
func routeBits(m *bsd.RouteMsg) int {
	switch {
	case m.Flags&bsd.RtfHost != 0:
		return m.Dst.IP.BitLen()
	case m.Mask.Set:
		return m.Mask.Bits
	case m.Dst.IP.IsUnspecified():
		return 0
	}
	return m.Dst.IP.BitLen()
}

func kind(flags uint32) int {
	for _, k := range []struct {
		flag uint32
		kind int
	}{
		{bsd.RtfLocal, rtnLocal}, {bsd.RtfBlackhole, rtnBlackhole}, {bsd.RtfReject, rtnUnreachable},
		{bsd.RtfBroadcast, rtnBroadcast}, {bsd.RtfMulticast, rtnMulticast},
	} {
		if flags&k.flag != 0 {
			return k.kind
		}
	}
	return rtnUnicast
}

func protocol(flags uint32) netlink.RouteProtocol {
	switch {
	case flags&bsd.RtfDynamic != 0:
		return protRedirect
	case flags&bsd.RtfStatic != 0:
		return protStatic
	}
	return protKernel
}

// NewRoute returns the message that adds, changes or deletes a route. Its type is
// the caller's to set. What macOS cannot express is refused rather than left out.
func NewRoute(r *netlink.Route) (*bsd.RouteMsg, error) {
	if err := simple(r); err != nil {
		return nil, err
	}
	dst, err := destination(r)
	if err != nil {
		return nil, err
	}
	m := &bsd.RouteMsg{
		Flags: bsd.RtfUp | bsd.RtfStatic,
		Dst:   bsd.IP(dst.Addr(), uint32(r.LinkIndex)),
		Ifa:   bsd.IP(addrOf(r.Src), uint32(r.LinkIndex)),
	}
	if dst.IsSingleIP() {
		m.Flags |= bsd.RtfHost
	} else {
		m.Mask = bsd.Prefix(dst.Bits())
	}
	if r.MTU > 0 {
		m.Metrics.MTU, m.Inits = uint32(r.MTU), bsd.RtvMTU
	}
	if r.MTULock {
		m.Metrics.Locks = bsd.RtvMTU
	}
	if r.LinkIndex < 0 || r.LinkIndex > 0xffff {
		return nil, fmt.Errorf("route to %v: link index %d: want 0 to 65535", dst, r.LinkIndex)
	}
	return m, setGateway(m, r, dst)
}

// setGateway sets where the route leads: a gateway, a link, or nowhere.
func setGateway(m *bsd.RouteMsg, r *netlink.Route, dst netip.Prefix) error {
	gw := addrOf(r.Gw)
	link := bsd.OnLink(bsd.Link{Index: uint16(r.LinkIndex)})
	switch {
	case r.Type == rtnBlackhole, r.Type == rtnUnreachable:
		// route(8) wants a gateway for these too, and takes the host itself.
		m.Flags |= map[int]uint32{rtnBlackhole: bsd.RtfBlackhole, rtnUnreachable: bsd.RtfReject}[r.Type]
		gw = netip.IPv6Loopback()
		if dst.Addr().Is4() {
			gw = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		m.Flags |= bsd.RtfGateway
		m.Gateway = bsd.IP(gw, 0)
	case gw.IsValid() && gw.Is4() != dst.Addr().Is4():
		return fmt.Errorf("route to %v: gateway %v: is of another family", dst, gw)
	case gw.IsValid():
		m.Flags |= bsd.RtfGateway
		m.Gateway = bsd.IP(gw, uint32(r.LinkIndex))
		if r.LinkIndex != 0 {
			m.Ifp = link
		}
	case r.LinkIndex != 0:
		m.Gateway = link
	}
	return nil
}

// destination returns where the route leads to. No destination is the default
// route of the gateway's family, of Family, or of IPv4.
func destination(r *netlink.Route) (netip.Prefix, error) {
	if r.Dst == nil {
		gw := addrOf(r.Gw)
		if gw.Is6() || !gw.IsValid() && r.Family == bsd.AFInet6 {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0), nil
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
	}
	p, ok := prefixOf(r.Dst)
	if !ok {
		return p, fmt.Errorf("route: destination %v: want an IP address and the mask of its length", r.Dst)
	}
	return p.Masked(), nil
}

// simple refuses what a route of macOS does not have.
func simple(r *netlink.Route) error {
	if r == nil {
		return fmt.Errorf("route: none given")
	}
	for what, set := range map[string]bool{
		"multipath": len(r.MultiPath) > 0, "encap": r.Encap != nil, "via": r.Via != nil, "MPLS": r.MPLSDst != nil || r.NewDst != nil,
		"table": r.Table != 0 && r.Table != TableMain, "priority": r.Priority != 0, "tos": r.Tos != 0, "realm": r.Realm != 0,
		"onlink": r.Flags&flagOnlink != 0, "input link": r.ILinkIndex != 0,
		"type": r.Type != 0 && r.Type != rtnUnicast && r.Type != rtnBlackhole && r.Type != rtnUnreachable,
	} {
		if set {
			return Unsupported("route with " + what)
		}
	}
	return nil
}

// Unsupported is what macOS has no way to express. Package netlink makes
// ErrNotImplemented of it.
type Unsupported string

// Error says what it is.
func (u Unsupported) Error() string { return string(u) + ": macOS has none" }

// Matches reports whether a route passes a filter as RouteListFiltered of upstream
// lets it: mask tells which fields of filter count.
func Matches(r netlink.Route, family int, filter *netlink.Route, mask uint64) bool {
	if family != 0 && family != r.Family {
		return false
	}
	on := func(bit uint64) bool { return filter != nil && mask&bit != 0 }
	if !on(netlink.RT_FILTER_TABLE) && r.Table != TableMain {
		return false
	}
	switch {
	case on(netlink.RT_FILTER_TABLE) && filter.Table != 0 && r.Table != filter.Table,
		on(netlink.RT_FILTER_PROTOCOL) && r.Protocol != filter.Protocol,
		on(netlink.RT_FILTER_SCOPE) && r.Scope != filter.Scope,
		on(netlink.RT_FILTER_TYPE) && r.Type != filter.Type,
		on(netlink.RT_FILTER_TOS) && r.Tos != filter.Tos,
		on(netlink.RT_FILTER_REALM) && r.Realm != filter.Realm,
		on(netlink.RT_FILTER_OIF) && r.LinkIndex != filter.LinkIndex,
		on(netlink.RT_FILTER_IIF) && r.ILinkIndex != filter.ILinkIndex,
		on(netlink.RT_FILTER_GW) && !r.Gw.Equal(filter.Gw),
		on(netlink.RT_FILTER_SRC) && !r.Src.Equal(filter.Src),
		on(netlink.RT_FILTER_DST) && !sameDst(r, filter.Dst),
		on(netlink.RT_FILTER_HOPLIMIT) && r.Hoplimit != filter.Hoplimit:
		return false
	}
	return true
}

// sameDst compares destinations; none is the default route.
func sameDst(r netlink.Route, want *net.IPNet) bool {
	have, ok := prefixOf(r.Dst)
	if want == nil {
		return ok && have.Bits() == 0
	}
	w, ok2 := prefixOf(want)
	return ok && ok2 && have == w
}
