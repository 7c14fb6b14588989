package hostnet

import (
	"net"
	"net/netip"

	"golang.org/x/net/route"
	"golang.org/x/sys/unix"
)

// routes returns the destinations of the routing table (route(4)).
func routes() ([]netip.Prefix, error) {
	rib, err := route.FetchRIB(unix.AF_UNSPEC, route.RIBTypeRoute, 0)
	if err != nil {
		return nil, err
	}
	messages, err := route.ParseRIB(route.RIBTypeRoute, rib)
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, m := range messages {
		if r, ok := m.(*route.RouteMessage); ok && r.Flags&unix.RTF_UP != 0 {
			out = append(out, destination(r))
		}
	}
	return out, nil
}

// destination returns the prefix of a route, the zero Prefix if it has none. A
// route without a mask is a host's, or the default route when it is to 0.
func destination(r *route.RouteMessage) netip.Prefix {
	if len(r.Addrs) <= unix.RTAX_NETMASK {
		return netip.Prefix{}
	}
	switch dst := r.Addrs[unix.RTAX_DST].(type) {
	case *route.Inet4Addr:
		bits := 32
		if mask, ok := r.Addrs[unix.RTAX_NETMASK].(*route.Inet4Addr); ok {
			bits, _ = net.IPMask(mask.IP[:]).Size()
		} else if r.Flags&unix.RTF_HOST == 0 {
			bits = 0
		}
		return netip.PrefixFrom(netip.AddrFrom4(dst.IP), bits)
	case *route.Inet6Addr:
		bits := 128
		if mask, ok := r.Addrs[unix.RTAX_NETMASK].(*route.Inet6Addr); ok {
			bits, _ = net.IPMask(mask.IP[:]).Size()
		} else if r.Flags&unix.RTF_HOST == 0 {
			bits = 0
		}
		return netip.PrefixFrom(netip.AddrFrom16(dst.IP), bits)
	}
	return netip.Prefix{}
}
