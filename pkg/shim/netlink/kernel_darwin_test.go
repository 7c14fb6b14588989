package netlink

import (
	"errors"
	"net"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
)

// TestLists compares links and addresses with those of package net, which asks in
// its own way.
func TestLists(t *testing.T) {
	want, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range want {
		l, err := LinkByName(i.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		a := l.Attrs()
		if a.Index != i.Index || a.MTU != i.MTU || a.HardwareAddr.String() != i.HardwareAddr.String() || a.Flags != i.Flags {
			t.Errorf("%+v, want %+v", a, i)
		}
		theirs, err := i.Addrs()
		if err != nil {
			t.Fatal(err)
		}
		ours, err := AddrList(l, FAMILY_ALL)
		if err != nil || len(ours) != len(theirs) {
			t.Errorf("%s: %v, %v, want %v", i.Name, ours, err, theirs)
		}
	}
	var gone LinkNotFoundError
	if _, err := LinkByName("vmnetgone0"); !errors.As(err, &gone) {
		t.Errorf("a link that is not there: %v", err)
	}
}

func TestRoutes(t *testing.T) {
	got, err := RouteGet(net.IPv4(127, 0, 0, 1))
	lo, err2 := LinkByName("lo0")
	if err != nil || err2 != nil || len(got) != 1 || got[0].LinkIndex != lo.Attrs().Index {
		t.Errorf("route to loopback: %v, %v, %v", got, err, err2)
	}
	if all, err := RouteListFiltered(FAMILY_V4, &Route{}, RT_FILTER_TABLE); err != nil || len(all) == 0 {
		t.Errorf("routes: %v, %v", all, err)
	}
	if _, err := NeighList(0, FAMILY_ALL); err != nil {
		t.Error(err)
	}
}

// TestChanges makes a bridge and a pair of feth with free numbers, works on them,
// and takes them away. 198.18.0.0/15 is for tests (RFC 2544).
func TestChanges(t *testing.T) {
	require.Root(t)
	br := &Bridge{LinkAttrs: LinkAttrs{Name: "bridge"}}
	pair := &Veth{LinkAttrs: LinkAttrs{Name: "feth", MTU: 1400}, PeerName: "feth"}
	for _, l := range []Link{br, pair} {
		if err := LinkAdd(l); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := LinkDel(l); err != nil {
				t.Error(err)
			}
		})
	}
	updates, done := make(chan AddrUpdate, 64), make(chan struct{})
	if err := AddrSubscribe(updates, done); err != nil {
		t.Fatal(err)
	}
	a, err := ParseAddr("198.18.77.1/24")
	if err != nil {
		t.Fatal(err)
	}
	dst, err := ParseIPNet("198.19.77.0/24")
	if err != nil {
		t.Fatal(err)
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 5}
	for _, step := range []struct {
		what string
		err  error
	}{
		{"master", LinkSetMaster(pair, br)},
		{"alias", LinkSetAlias(pair, "a test")},
		{"up", errors.Join(LinkSetUp(br), LinkSetUp(pair))},
		{"address", AddrAdd(br, a)},
		{"route", RouteAdd(&Route{Dst: dst, Gw: net.IPv4(198, 18, 77, 2)})},
		{"replace", RouteReplace(&Route{Dst: dst, Gw: net.IPv4(198, 18, 77, 3)})},
		{"neighbour", NeighAdd(&Neigh{LinkIndex: br.Index, IP: net.IPv4(198, 18, 77, 9), HardwareAddr: mac, State: NUD_PERMANENT})},
	} {
		if step.err != nil {
			t.Errorf("%s: %v", step.what, step.err)
		}
	}
	if l, err := LinkByAlias("a test"); err != nil || l.Attrs().MasterIndex != br.Index || l.(*Veth).PeerName != pair.PeerName || l.Attrs().MTU != 1400 {
		t.Errorf("%+v, %v", l, err)
	}
	if got, err := RouteGet(dst.IP); err != nil || !got[0].Gw.Equal(net.IPv4(198, 18, 77, 3)) {
		t.Errorf("route: %v, %v", got, err)
	}
	if got, err := NeighList(br.Index, FAMILY_V4); err != nil || len(got) == 0 {
		t.Errorf("neighbours: %v, %v", got, err)
	}
	for u := range updates { // link-local addresses may come first
		if u.NewAddr && u.LinkAddress.IP.Equal(a.IP) {
			break
		}
	}
	close(done)
	for range updates {
	}
	if err := errors.Join(RouteDel(&Route{Dst: dst}), LinkSetNoMaster(pair), AddrDel(br, a)); err != nil {
		t.Error(err)
	}
}
