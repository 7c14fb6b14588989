package netlink

import (
	"net"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/conv"
)

// LinkSubscribe sends changes of links to ch until done is closed.
func LinkSubscribe(ch chan<- LinkUpdate, done <-chan struct{}) error {
	return LinkSubscribeWithOptions(ch, done, LinkSubscribeOptions{})
}

// LinkSubscribeWithOptions is LinkSubscribe with options. macOS says that a link
// changed, not how, and does not always say that one came or went: each message is
// an occasion to compare all links with those that were there before.
func LinkSubscribeWithOptions(ch chan<- LinkUpdate, done <-chan struct{}, options LinkSubscribeOptions) error {
	known := map[int]Link{}
	return subscribe(ch, subscription{
		options.Namespace, done, options.ErrorCallback, options.ReceiveBufferSize, options.ReceiveTimeout,
	}, func() ([]LinkUpdate, error) {
		first, err := linkChanges(known, 0) // all are new
		if !options.ListExisting {
			first = nil
		}
		return first, err
	}, func(m bsd.Message) ([]LinkUpdate, error) {
		var index uint16
		switch m := m.(type) {
		case *bsd.LinkMsg:
			index = m.Index
		case *bsd.AddrMsg:
		default:
			return nil, nil
		}
		return linkChanges(known, int(index))
	})
}

// linkChanges returns the updates since known, which it brings up to date: links
// that came, went, or are the one of index.
func linkChanges(known map[int]Link, index int) ([]LinkUpdate, error) {
	all, err := LinkList()
	if err != nil {
		return nil, err
	}
	var out []LinkUpdate
	seen := map[int]bool{}
	for _, l := range all {
		i := l.Attrs().Index
		seen[i] = true
		if known[i] == nil || i == index {
			out = append(out, linkUpdate(rtmNewLink, l))
		}
		known[i] = l
	}
	for i, l := range known {
		if !seen[i] {
			out = append(out, linkUpdate(rtmDelLink, l))
			delete(known, i)
		}
	}
	return out, nil
}

func linkUpdate(typ uint16, l Link) LinkUpdate {
	a := l.Attrs()
	return LinkUpdate{
		IfInfomsg: IfInfomsg{ifInfomsg{Type: conv.Hardware(a.EncapType), Index: int32(a.Index), Flags: a.RawFlags, Change: ^uint32(0)}},
		Header:    NlMsghdr{Type: typ}, Link: l,
	}
}

// AddrSubscribe sends changes of addresses to ch until done is closed.
func AddrSubscribe(ch chan<- AddrUpdate, done <-chan struct{}) error {
	return AddrSubscribeWithOptions(ch, done, AddrSubscribeOptions{})
}

// AddrSubscribeWithOptions is AddrSubscribe with options.
func AddrSubscribeWithOptions(ch chan<- AddrUpdate, done <-chan struct{}, options AddrSubscribeOptions) error {
	return subscribe(ch, subscription{
		options.Namespace, done, options.ErrorCallback, options.ReceiveBufferSize, options.ReceiveTimeout,
	}, func() ([]AddrUpdate, error) {
		if !options.ListExisting {
			return nil, nil
		}
		all, err := AddrList(nil, FAMILY_ALL)
		return updates(all, func(a Addr) AddrUpdate { return addrUpdate(a, true) }), err
	}, func(m bsd.Message) ([]AddrUpdate, error) {
		if m, ok := m.(*bsd.AddrMsg); ok {
			if a, ok := conv.Addr(m, "", false); ok {
				return []AddrUpdate{addrUpdate(a, m.Type == bsd.RtmNewAddr)}, nil
			}
		}
		return nil, nil
	})
}

func addrUpdate(a Addr, fresh bool) AddrUpdate {
	return AddrUpdate{
		LinkAddress: net.IPNet{IP: a.IP, Mask: a.Mask}, LinkIndex: a.LinkIndex, Flags: a.Flags, Scope: a.Scope,
		PreferedLft: a.PreferedLft, ValidLft: a.ValidLft, NewAddr: fresh,
	}
}

// RouteSubscribe sends changes of routes to ch until done is closed.
func RouteSubscribe(ch chan<- RouteUpdate, done <-chan struct{}) error {
	return RouteSubscribeWithOptions(ch, done, RouteSubscribeOptions{})
}

// RouteSubscribeWithOptions is RouteSubscribe with options. The types of updates
// are Linux's RTM_NEWROUTE (24) and RTM_DELROUTE (25).
func RouteSubscribeWithOptions(ch chan<- RouteUpdate, done <-chan struct{}, options RouteSubscribeOptions) error {
	return subscribe(ch, subscription{
		options.Namespace, done, options.ErrorCallback, options.ReceiveBufferSize, options.ReceiveTimeout,
	}, func() ([]RouteUpdate, error) {
		if !options.ListExisting {
			return nil, nil
		}
		all, err := RouteList(nil, FAMILY_ALL)
		return updates(all, func(r Route) RouteUpdate { return RouteUpdate{Type: rtmNewRoute, Route: r} }), err
	}, func(m bsd.Message) ([]RouteUpdate, error) {
		if m, ok := m.(*bsd.RouteMsg); ok {
			if r, ok := conv.Route(m); ok {
				return []RouteUpdate{{Type: updateType(m, rtmNewRoute, rtmDelRoute), Route: r}}, nil
			}
		}
		return nil, nil
	})
}

// NeighSubscribe sends changes of neighbours to ch until done is closed.
func NeighSubscribe(ch chan<- NeighUpdate, done <-chan struct{}) error {
	return NeighSubscribeWithOptions(ch, done, NeighSubscribeOptions{})
}

// NeighSubscribeWithOptions is NeighSubscribe with options. The types of updates
// are Linux's RTM_NEWNEIGH (28) and RTM_DELNEIGH (29). macOS tells of entries that
// come and go, not of each change of their state.
func NeighSubscribeWithOptions(ch chan<- NeighUpdate, done <-chan struct{}, options NeighSubscribeOptions) error {
	return subscribe(ch, subscription{
		options.Namespace, done, options.ErrorCallback, options.ReceiveBufferSize, options.ReceiveTimeout,
	}, func() ([]NeighUpdate, error) {
		if !options.ListExisting {
			return nil, nil
		}
		all, err := NeighList(0, FAMILY_ALL)
		return updates(all, func(n Neigh) NeighUpdate { return NeighUpdate{Type: rtmNewNeigh, Neigh: n} }), err
	}, func(m bsd.Message) ([]NeighUpdate, error) {
		if m, ok := m.(*bsd.RouteMsg); ok {
			if n, ok := conv.Neigh(m); ok {
				return []NeighUpdate{{Type: updateType(m, rtmNewNeigh, rtmDelNeigh), Neigh: n}}, nil
			}
		}
		return nil, nil
	})
}

func updateType(m *bsd.RouteMsg, fresh, gone uint16) uint16 {
	if m.Type == bsd.RtmDelete {
		return gone
	}
	return fresh
}

func updates[S, T any](in []S, make func(S) T) []T {
	var out []T
	for _, x := range in {
		out = append(out, make(x))
	}
	return out
}
