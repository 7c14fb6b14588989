package netlink

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/conv"
)

// changeRoute asks the kernel to add, change or delete a route.
func changeRoute(fn, verb string, typ uint8, route *Route) error {
	m, err := conv.NewRoute(route)
	if err == nil && m.Gateway.Family == 0 && typ != bsd.RtmDelete {
		err = fmt.Errorf("neither gateway nor link: %w", unix.EINVAL)
	}
	if err == nil {
		m.Type = typ
		err = ask(m)
	}
	if err != nil {
		return explain(fn, fmt.Sprintf("%s route %v", verb, dstOf(route)), err)
	}
	return nil
}

func dstOf(r *Route) any {
	switch {
	case r == nil:
		return nil
	case r.Dst == nil:
		return "default"
	}
	return r.Dst
}

// RouteAdd adds a route. EEXIST says that there is one to its destination.
func RouteAdd(route *Route) error { return changeRoute("RouteAdd", "add", bsd.RtmAdd, route) }

// RouteChange changes where a route leads. ESRCH says that there is none.
func RouteChange(route *Route) error {
	return changeRoute("RouteChange", "change", bsd.RtmChange, route)
}

// RouteReplace changes where a route leads, or adds it.
func RouteReplace(route *Route) error {
	err := changeRoute("RouteReplace", "replace", bsd.RtmChange, route)
	if errors.Is(err, unix.ESRCH) {
		err = changeRoute("RouteReplace", "replace", bsd.RtmAdd, route)
	}
	return err
}

// RouteDel deletes a route. ESRCH says that there is none.
func RouteDel(route *Route) error { return changeRoute("RouteDel", "delete", bsd.RtmDelete, route) }

// RouteList returns the routes of the main table, of a link or of all if it is
// nil, and of a family or of both.
func RouteList(link Link, family int) ([]Route, error) {
	index, err := indexOf(link)
	if err != nil {
		return nil, err
	}
	filter, mask := &Route{}, uint64(0)
	if index != 0 {
		filter.LinkIndex, mask = index, RT_FILTER_OIF
	}
	return RouteListFiltered(family, filter, mask)
}

// RouteListFiltered returns the routes that pass a filter: filterMask, of
// RT_FILTER_, tells which of its fields count. Without RT_FILTER_TABLE, those of
// the main table.
func RouteListFiltered(family int, filter *Route, filterMask uint64) ([]Route, error) {
	var out []Route
	err := RouteListFilteredIter(family, filter, filterMask, func(r Route) bool {
		out = append(out, r)
		return true
	})
	return out, err
}

// RouteListFilteredIter calls f for each route that RouteListFiltered would
// return, until it returns false.
func RouteListFilteredIter(family int, filter *Route, filterMask uint64, f func(Route) (cont bool)) error {
	all, err := fetch(family, bsd.NetRtDump, 0)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, m := range all {
		if m, ok := m.(*bsd.RouteMsg); ok {
			if r, ok := conv.Route(m); ok && conv.Matches(r, family, filter, filterMask) && !f(r) {
				return nil
			}
		}
	}
	return nil
}

// RouteGet returns the route that a packet to destination takes.
func RouteGet(destination net.IP) ([]Route, error) { return RouteGetWithOptions(destination, nil) }

// RouteGetWithOptions is RouteGet out of a link, if options names one. Other
// options are not implemented.
func RouteGetWithOptions(destination net.IP, options *RouteGetOptions) ([]Route, error) {
	var oif int
	if options != nil {
		o := *options
		if o.Oif != "" {
			l, err := LinkByName(o.Oif)
			if err != nil {
				return nil, err
			}
			o.OifIndex = l.Attrs().Index
		}
		oif, o.Oif, o.OifIndex = o.OifIndex, "", 0
		if o.Iif != "" || o.IifIndex != 0 || o.VrfName != "" || o.SrcAddr != nil || o.UID != nil || o.Mark != 0 || o.FIBMatch {
			return nil, notImplemented("RouteGetWithOptions")
		}
	}
	r, err := getRoute(destination, oif)
	if err != nil {
		return nil, fmt.Errorf("get route to %v: %w", destination, err)
	}
	return []Route{r}, nil
}

func getRoute(destination net.IP, oif int) (Route, error) {
	a, ok := netip.AddrFromSlice(destination)
	if !ok || oif < 0 || oif > 0xffff {
		return Route{}, fmt.Errorf("link index %d: %w", oif, unix.EINVAL)
	}
	m := &bsd.RouteMsg{
		Type: bsd.RtmGet, Flags: bsd.RtfUp | bsd.RtfHost, Dst: bsd.IP(a.Unmap(), uint32(oif)),
		Ifp: bsd.OnLink(bsd.Link{}), // asks for the link and the source
	}
	if oif != 0 {
		m.Flags |= bsd.RtfIfscope
		m.Index = uint16(oif)
	}
	got, err := query(m)
	if err != nil {
		return Route{}, err
	}
	got.Flags &^= bsd.RtfWasCloned | bsd.RtfLLInfo // how the kernel keeps it is no matter
	got.Dst, got.Flags = m.Dst, got.Flags|bsd.RtfHost
	r, ok := conv.Route(got)
	if !ok {
		return Route{}, unix.ENETUNREACH
	}
	return r, nil
}
