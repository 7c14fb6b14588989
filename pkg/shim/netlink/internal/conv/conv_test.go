package conv_test

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/conv"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

func sa(s string) bsd.Sockaddr { return bsd.IP(netip.MustParseAddr(s), 4) }

func ipnet(s string) *net.IPNet {
	n, err := netlink.ParseIPNet(s)
	if err != nil {
		panic(err)
	}
	return n
}

var hw = net.HardwareAddr{2, 0, 0, 0, 0, 1}

func TestLink(t *testing.T) {
	for name, c := range map[string]struct {
		ifType uint8
		want   string
	}{
		"en0": {bsd.IftEther, "device"}, "lo0": {bsd.IftLoop, "device"}, "bridge100": {bsd.IftBridge, "bridge"},
		"feth7": {bsd.IftEther, "veth"}, "utun3": {1, "utun"}, "vmenet0": {bsd.IftEther, "device"},
	} {
		l := conv.Link(&bsd.LinkMsg{
			Flags: 0x8863, Index: 4, QLen: 128,
			Data: bsd.LinkData{IfType: c.ifType, MTU: 1500, RxBytes: 7},
			Ifp:  bsd.OnLink(bsd.Link{Index: 4, Name: name, HW: hw}),
		})
		a := l.Attrs()
		if l.Type() != c.want || a.Name != name || a.Index != 4 || a.MTU != 1500 || a.HardwareAddr.String() != hw.String() || a.Statistics.RxBytes != 7 {
			t.Errorf("%s: %s %+v", name, l.Type(), a)
		}
		if want := net.FlagUp | net.FlagBroadcast | net.FlagMulticast | net.FlagRunning; a.Flags != want {
			t.Errorf("%s: flags %v, want %v", name, a.Flags, want)
		}
		if got := conv.Encap(conv.Hardware(a.EncapType)); got != a.EncapType {
			t.Errorf("%s: encapsulation %q, and back %q", name, a.EncapType, got)
		}
		if want := netlink.OperUp; c.ifType != bsd.IftLoop && a.OperState != netlink.LinkOperState(want) {
			t.Errorf("%s: state %v", name, a.OperState)
		}
	}
}

func TestAddr(t *testing.T) {
	for _, c := range []struct {
		what string
		m    bsd.AddrMsg
		p2p  bool
		want string
		more func(a netlink.Addr) bool
	}{
		{
			"v4", bsd.AddrMsg{Index: 4, Ifa: sa("10.0.0.1"), Mask: bsd.Prefix(8), Brd: sa("10.255.255.255")}, false, "10.0.0.1/8 en0",
			func(a netlink.Addr) bool { return a.Broadcast.String() == "10.255.255.255" && a.LinkIndex == 4 },
		},
		{
			"point to point", bsd.AddrMsg{Ifa: sa("10.0.0.1"), Mask: bsd.Prefix(32), Brd: sa("10.0.0.2")}, true, "10.0.0.1/32 en0",
			func(a netlink.Addr) bool { return a.Peer.String() == "10.0.0.2/32" && a.Broadcast == nil },
		},
		{
			"link-local", bsd.AddrMsg{Ifa: sa("fe80::1"), Mask: bsd.Prefix(64)}, false, "fe80::1/64",
			func(a netlink.Addr) bool { return a.Scope == 253 },
		},
		{
			"loopback", bsd.AddrMsg{Ifa: sa("127.0.0.1"), Mask: bsd.Prefix(8)}, false, "127.0.0.1/8 en0",
			func(a netlink.Addr) bool { return a.Scope == 254 },
		},
	} {
		a, ok := conv.Addr(&c.m, "en0", c.p2p)
		if !ok || a.String() != c.want || !c.more(a) {
			t.Errorf("%s: %v, %+v", c.what, ok, a)
		}
	}
	for what, m := range map[string]bsd.AddrMsg{
		"link": {Ifa: bsd.OnLink(bsd.Link{Index: 1})}, "hole": {Ifa: sa("10.0.0.1"), Mask: bsd.Mask{Set: true, Bits: -1}},
	} {
		if a, ok := conv.Addr(&m, "", false); ok {
			t.Errorf("%s: %v", what, a)
		}
	}
}

func TestNewAlias(t *testing.T) {
	peer := ipnet("10.0.0.2/32")
	for _, c := range []struct {
		a     netlink.Addr
		p2p   bool
		other string
		bad   bool
	}{
		{a: netlink.Addr{IPNet: ipnet("10.0.0.1/20")}, other: "10.0.15.255"},
		{a: netlink.Addr{IPNet: ipnet("10.0.0.1/31")}, other: "invalid IP"},
		{a: netlink.Addr{IPNet: ipnet("10.0.0.1/24"), Broadcast: net.IPv4(10, 0, 0, 254)}, other: "10.0.0.254"},
		{a: netlink.Addr{IPNet: ipnet("10.0.0.1/32"), Peer: peer}, p2p: true, other: "10.0.0.2"},
		{a: netlink.Addr{IPNet: ipnet("fd00::1/64"), ValidLft: 0xffffffff}, other: "invalid IP"},
		{a: netlink.Addr{IPNet: ipnet("10.0.0.1/24"), Peer: peer}, bad: true},
		{a: netlink.Addr{IPNet: ipnet("fd00::1/64"), Peer: peer}, p2p: true, bad: true},
		{a: netlink.Addr{IPNet: ipnet("10.0.0.1/24"), ValidLft: -1}, bad: true},
		{a: netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(1, 1, 1, 1), Mask: net.IPv4Mask(255, 0, 255, 0)}}, bad: true},
		{bad: true},
	} {
		got, err := conv.NewAlias(&c.a, c.p2p)
		if (err != nil) != c.bad || err == nil && got.Other.String() != c.other {
			t.Errorf("%v: %+v, %v", c.a, got, err)
		}
	}
	if _, err := conv.NewAlias(nil, false); err == nil {
		t.Error("nil: no error")
	}
}

// TestRoutes makes the message of a route, and the route of the message.
func TestRoutes(t *testing.T) {
	for _, r := range []netlink.Route{
		{Dst: ipnet("10.10.0.0/16"), Gw: net.IPv4(10, 9, 0, 2).To4(), LinkIndex: 4, Family: bsd.AFInet, Table: 254, Type: 1, Protocol: 4, MTU: 1400},
		{Dst: ipnet("10.10.0.7/32"), LinkIndex: 4, Family: bsd.AFInet, Table: 254, Type: 1, Protocol: 4, Scope: 253},
		{Dst: ipnet("0.0.0.0/0"), Gw: net.IPv4(10, 9, 0, 2).To4(), Family: bsd.AFInet, Table: 254, Type: 1, Protocol: 4},
		{Dst: ipnet("::/0"), Gw: net.ParseIP("fe80::1"), LinkIndex: 4, Family: bsd.AFInet6, Table: 254, Type: 1, Protocol: 4},
		{Dst: ipnet("10.66.0.0/16"), Family: bsd.AFInet, Table: 254, Type: 6, Protocol: 4},
		{Dst: ipnet("fd66::/48"), Family: bsd.AFInet6, Table: 254, Type: 7, Protocol: 4},
		{Dst: ipnet("fd67::/48"), LinkIndex: 5, Src: net.ParseIP("fd00::1"), Family: bsd.AFInet6, Table: 254, Type: 1, Protocol: 4, Scope: 253},
	} {
		m, err := conv.NewRoute(&r)
		if err != nil {
			t.Errorf("%v: %v", r, err)
			continue
		}
		m.Type, m.Index = bsd.RtmGet, uint16(r.LinkIndex) // as the kernel lists it
		b, err := m.Marshal()
		if err != nil {
			t.Errorf("%v: %v", r, err)
			continue
		}
		back, _, err := bsd.Parse(b)
		if err != nil {
			t.Errorf("%v: %v", r, err)
			continue
		}
		r.Dst.IP = r.Dst.IP.Mask(r.Dst.Mask) // 4 bytes for IPv4
		if got, ok := conv.Route(back.(*bsd.RouteMsg)); !ok || got.String() != r.String() || !got.Equal(r) {
			t.Errorf("got  %+v\nwant %+v", got, r)
		}
	}
}

func TestNewRouteBad(t *testing.T) {
	var unsupported conv.Unsupported
	for what, c := range map[string]struct {
		r    *netlink.Route
		lack bool
	}{
		"nil":       {r: nil},
		"families":  {r: &netlink.Route{Dst: ipnet("10.0.0.0/8"), Gw: net.ParseIP("fd00::1")}},
		"index":     {r: &netlink.Route{Dst: ipnet("10.0.0.0/8"), LinkIndex: 1 << 16}},
		"mask":      {r: &netlink.Route{Dst: &net.IPNet{IP: net.IPv4(1, 0, 0, 0), Mask: net.IPMask{255, 0, 255, 0}}}},
		"multipath": {r: &netlink.Route{MultiPath: []*netlink.NexthopInfo{{}}}, lack: true},
		"table":     {r: &netlink.Route{Table: 7}, lack: true},
		"priority":  {r: &netlink.Route{Priority: 7}, lack: true},
		"onlink":    {r: &netlink.Route{Flags: 4}, lack: true},
		"local":     {r: &netlink.Route{Type: 2}, lack: true},
	} {
		if _, err := conv.NewRoute(c.r); err == nil || errors.As(err, &unsupported) != c.lack {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestKinds tells the routes of a list apart.
func TestKinds(t *testing.T) {
	for _, c := range []struct {
		flags       uint32
		table, kind int
		none        bool
	}{
		{flags: bsd.RtfUp | bsd.RtfCloning, table: 254, kind: 1},
		{flags: bsd.RtfUp | bsd.RtfHost | bsd.RtfLLInfo | bsd.RtfLocal, table: 255, kind: 2},
		{flags: bsd.RtfUp | bsd.RtfHost | bsd.RtfBroadcast, table: 255, kind: 3},
		{flags: bsd.RtfUp | bsd.RtfMulticast, table: 255, kind: 5},
		{flags: bsd.RtfUp | bsd.RtfHost | bsd.RtfLLInfo, none: true},
		{flags: bsd.RtfUp | bsd.RtfHost | bsd.RtfWasCloned, none: true},
	} {
		r, ok := conv.Route(&bsd.RouteMsg{Flags: c.flags, Dst: sa("10.0.0.0"), Mask: bsd.Prefix(8), Gateway: bsd.OnLink(bsd.Link{Index: 4})})
		if ok == c.none || ok && (r.Table != c.table || r.Type != c.kind) {
			t.Errorf("%#x: %v %+v", c.flags, ok, r)
		}
	}
}

func TestMatches(t *testing.T) {
	r := netlink.Route{Dst: ipnet("10.1.0.0/16"), LinkIndex: 4, Gw: net.IPv4(10, 9, 0, 2), Family: bsd.AFInet, Table: 254, Type: 1, Protocol: 4}
	local := netlink.Route{Dst: ipnet("10.1.0.1/32"), Family: bsd.AFInet, Table: 255, Type: 2}
	for what, c := range map[string]struct {
		r      netlink.Route
		family int
		filter *netlink.Route
		mask   uint64
		want   bool
	}{
		"all":         {r, 0, nil, 0, true},
		"family":      {r, bsd.AFInet6, nil, 0, false},
		"local":       {local, 0, nil, 0, false},
		"every table": {local, 0, &netlink.Route{}, netlink.RT_FILTER_TABLE, true},
		"a table":     {r, 0, &netlink.Route{Table: 255}, netlink.RT_FILTER_TABLE, false},
		"link":        {r, 0, &netlink.Route{LinkIndex: 5}, netlink.RT_FILTER_OIF, false},
		"gateway":     {r, 0, &netlink.Route{Gw: net.IPv4(10, 9, 0, 2)}, netlink.RT_FILTER_GW, true},
		"destination": {r, 0, &netlink.Route{Dst: ipnet("10.1.0.0/16")}, netlink.RT_FILTER_DST, true},
		"default":     {r, 0, &netlink.Route{}, netlink.RT_FILTER_DST, false},
		"protocol":    {r, 0, &netlink.Route{Protocol: 2}, netlink.RT_FILTER_PROTOCOL, false},
	} {
		if got := conv.Matches(c.r, c.family, c.filter, c.mask); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

func TestNeigh(t *testing.T) {
	in := netlink.Neigh{LinkIndex: 4, IP: net.IPv4(10, 9, 0, 5).To4(), HardwareAddr: hw, State: 0x80}
	m, err := conv.NewNeigh(&in, true)
	if err != nil {
		t.Fatal(err)
	}
	in.Family, in.Type = bsd.AFInet, 1
	if got, ok := conv.Neigh(m); !ok || !reflect.DeepEqual(got, in) {
		t.Errorf("%+v, want %+v", got, in)
	}
	m.Metrics.Expire = 7
	if got, _ := conv.Neigh(m); got.State != 2 {
		t.Errorf("state %#x of one that expires", got.State)
	}
	m.Gateway.Link.HW = nil
	if got, _ := conv.Neigh(m); got.State != 1 {
		t.Errorf("state %#x without an address", got.State)
	}
	for what, n := range map[string]*netlink.Neigh{
		"nil": nil, "no address": {LinkIndex: 4, HardwareAddr: hw}, "no link": {IP: in.IP, HardwareAddr: hw},
		"stale": {LinkIndex: 4, IP: in.IP, HardwareAddr: hw, State: 4}, "proxy": {LinkIndex: 4, IP: in.IP, HardwareAddr: hw, Flags: 8},
		"no hw": {LinkIndex: 4, IP: in.IP},
	} {
		if _, err := conv.NewNeigh(n, true); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// FuzzMessages makes links, addresses, routes and neighbours of what anybody may
// send, and the message of each route again.
func FuzzMessages(f *testing.F) {
	for _, m := range []bsd.Message{
		&bsd.RouteMsg{Type: bsd.RtmGet, Index: 4, Flags: bsd.RtfUp | bsd.RtfGateway, Dst: sa("10.0.0.0"), Mask: bsd.Prefix(8), Gateway: sa("10.0.0.1")},
		&bsd.RouteMsg{Type: bsd.RtmAdd, Flags: bsd.RtfLLInfo, Dst: sa("fe80::1"), Gateway: bsd.OnLink(bsd.Link{Index: 4, HW: hw})},
		&bsd.AddrMsg{Type: bsd.RtmNewAddr, Index: 4, Ifa: sa("10.0.0.1"), Mask: bsd.Prefix(8)},
		&bsd.LinkMsg{Type: bsd.RtmIfinfo2, Index: 4, Ifp: bsd.OnLink(bsd.Link{Index: 4, Name: "bridge100", HW: hw})},
	} {
		b, err := m.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, p2p bool) {
		all, _ := bsd.ParseAll(b)
		for _, m := range all {
			switch m := m.(type) {
			case *bsd.LinkMsg:
				_ = conv.Link(m).Type()
			case *bsd.AddrMsg:
				if a, ok := conv.Addr(m, "en0", p2p); ok {
					_, _ = conv.NewAlias(&a, p2p)
				}
			case *bsd.RouteMsg:
				if r, ok := conv.Route(m); ok {
					_ = conv.Matches(r, 0, &r, ^uint64(0))
					_, _ = conv.NewRoute(&r)
				}
				if n, ok := conv.Neigh(m); ok {
					_, _ = conv.NewNeigh(&n, p2p)
				}
			}
		}
	})
}
