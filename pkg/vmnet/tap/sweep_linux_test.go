package tap_test

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/google/uuid"
	"github.com/vishvananda/netlink"

	"github.com/vmnet-cni/vmnet/internal/ownns"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/tap"
)

// TestSweep finds everything that a killed process left, and nothing else.
func TestSweep(t *testing.T) {
	ownns.Needs(t)
	other := tap.New(tap.Config{Owner: "another", Log: t.Logf})
	kept := open(t, other, vmnet.NetworkConfig{Mode: vmnet.Host, Subnet: netip.MustParsePrefix("10.7.0.0/24")})
	dead := newDriver(t)
	n, err := dead.Open(context.Background(), vmnet.NetworkConfig{Name: "n", Subnet: subnet})
	if err != nil {
		t.Fatal(err)
	}
	s, d := plugged(t, n, "192.168.127.2/24")
	if err := d.(vmnet.Forwarder).AddForward(t.Context(), vmnet.Forward{Protocol: vmnet.UDP, External: netip.MustParseAddrPort("127.0.0.1:5"), Internal: netip.MustParseAddrPort("192.168.127.2:5")}); err != nil {
		t.Fatal(err)
	}
	if err := d.(vmnet.Ruler).SetRules(t.Context(), vmnet.Rules{Guard: vmnet.Guard{MAC: true}, ToGuest: vmnet.Rate{Bits: 1e6}}); err != nil {
		t.Fatal(err)
	}
	if err := newDriver(t).Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	for _, name := range []string{n.Info().HostInterfaces[0], d.Info().HostInterfaces[0]} {
		if indexOf(t, name) != 0 {
			t.Errorf("%s is left", name)
		}
	}
	s.do(t, func() error {
		if _, err := netlink.LinkByName("eth0"); err == nil {
			return errors.New("the guest's end is left")
		}
		return nil
	})
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := c.ListTables()
	if err != nil || len(tables) != 1 || indexOf(t, kept.Info().HostInterfaces[0]) == 0 {
		t.Errorf("tables %v, %v, want the other's", tables, err)
	}
	if err := n.Close(); err != nil { // finds nothing more to take away
		t.Error(err)
	}
}

// TestForeign leaves a link alone that has no mark.
func TestForeign(t *testing.T) {
	ownns.Needs(t)
	d := newDriver(t)
	n, err := d.Open(t.Context(), vmnet.NetworkConfig{Name: "n", Layer2: true})
	if err != nil {
		t.Fatal(err)
	}
	name := n.Info().HostInterfaces[0]
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	theirs := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(theirs); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = netlink.LinkDel(theirs) }()
	if _, err := d.Open(t.Context(), vmnet.NetworkConfig{Name: "n", Layer2: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("open: %v, want that it exists", err)
	}
	if err := d.Sweep(t.Context()); err != nil || indexOf(t, name) == 0 {
		t.Errorf("sweep: %v, link %d", err, indexOf(t, name))
	}
}

// groupOf returns the group in which a driver makes links, which they have until they
// get their mark.
func groupOf(t *testing.T) uint32 {
	t.Helper()
	updates, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	if err := netlink.LinkSubscribe(updates, done); err != nil {
		t.Fatal(err)
	}
	n, err := newDriver(t).Open(t.Context(), vmnet.NetworkConfig{Name: "n", Layer2: true})
	if err != nil {
		t.Fatal(err)
	}
	bridge := n.Info().HostInterfaces[0]
	if l, err := netlink.LinkByName(bridge); err != nil || l.Attrs().Group != 0 || l.Attrs().Alias == "" {
		t.Errorf("bridge %+v, %v, want it marked and in no group", l, err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		close(done)
		for range updates {
		}
	}()
	for u := range updates {
		if a := u.Attrs(); a.Name == bridge {
			if a.Group == 0 || a.Alias != "" {
				t.Errorf("made in group %d with alias %q, want a group and no alias", a.Group, a.Alias)
			}
			return a.Group
		}
	}
	t.Fatal("no news of the bridge")
	return 0
}

// TestHalfMade has links that a process made which was killed before it could mark
// them: another makes its own in their place, or sweeps them.
func TestHalfMade(t *testing.T) {
	ownns.Needs(t)
	group := groupOf(t)
	id := uuid.New()
	n := open(t, newDriver(t), vmnet.NetworkConfig{Layer2: true})
	d, err := n.Start(t.Context(), vmnet.Config{UUID: id})
	if err != nil {
		t.Fatal(err)
	}
	bridge, port := n.Info().HostInterfaces[0], d.Info().HostInterfaces[0]
	if err := errors.Join(d.Close(), n.Close()); err != nil {
		t.Fatal(err)
	}
	half := func() {
		for _, name := range []string{bridge, port} {
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.Group = name, group
			var l netlink.Link = &netlink.Bridge{LinkAttrs: attrs}
			if name == port {
				l = &netlink.Veth{LinkAttrs: attrs, PeerName: "guest0"}
			}
			if err := netlink.LinkAdd(l); err != nil {
				t.Fatal(err)
			}
		}
	}
	half()
	again := open(t, newDriver(t), vmnet.NetworkConfig{Layer2: true})
	if d, err = again.Start(t.Context(), vmnet.Config{UUID: id}); err != nil {
		t.Fatal(err)
	}
	if err := d.(vmnet.Plugger).Plug(t.Context(), newSpace(t).file, "eth0"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(d.Close(), again.Close()); err != nil {
		t.Fatal(err)
	}
	half()
	if err := newDriver(t).Sweep(t.Context()); err != nil || indexOf(t, bridge) != 0 || indexOf(t, port) != 0 {
		t.Errorf("sweep: %v; links %d and %d are left", err, indexOf(t, bridge), indexOf(t, port))
	}
}

// TestMacvlanRules has a container on an uplink with addresses: what cannot be judged
// there is refused if it was asked for, and there is no table that does nothing.
func TestMacvlanRules(t *testing.T) {
	ownns.Needs(t)
	n := open(t, newDriver(t), vmnet.NetworkConfig{Mode: vmnet.Bridged, Uplink: cable(t, "up3", "10.9.7.1/24")})
	d, err := n.Start(t.Context(), vmnet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	set := func(r vmnet.Rules) error { return d.(vmnet.Ruler).SetRules(t.Context(), r) }
	guard := vmnet.Rules{Guard: vmnet.Guard{MAC: true, RA: true}}
	if err := set(guard); err != nil || tablesOf(t, d) != 1 {
		t.Errorf("macvtap: %v, %d tables", err, tablesOf(t, d))
	}
	if err := d.(vmnet.Plugger).Plug(t.Context(), newSpace(t).file, "eth0"); err != nil {
		t.Fatal(err)
	}
	if err := set(guard); err != nil || tablesOf(t, d) != 0 {
		t.Errorf("macvlan: %v, %d tables", err, tablesOf(t, d))
	}
	for what, r := range map[string]vmnet.Rules{
		"limit": {FromGuest: vmnet.Rate{Bits: 1e6}}, "deny": {Guard: vmnet.Guard{Deny: []netip.Prefix{subnet}}},
	} {
		if err := set(r); !errors.Is(err, errors.ErrUnsupported) || tablesOf(t, d) != 0 {
			t.Errorf("%s: %v, %d tables, want that it is not supported", what, err, tablesOf(t, d))
		}
	}
}

// TestSweepMacvlan finds the link of a guest in its namespace, where a killed process
// left it: what has come back keeps its own, and so does what only began to come back
// until it is closed.
func TestSweepMacvlan(t *testing.T) {
	ownns.Needs(t)
	cfg := vmnet.NetworkConfig{Name: "n", Mode: vmnet.Bridged, Uplink: cable(t, "up2", "10.9.8.1/24")}
	id, s := uuid.New(), newSpace(t)
	there := func() (yes bool) {
		s.do(t, func() error {
			_, err := netlink.LinkByName("eth0")
			yes = err == nil
			if errors.As(err, new(netlink.LinkNotFoundError)) {
				err = nil
			}
			return err
		})
		return yes
	}
	start := func(d *tap.Driver) vmnet.Device {
		n := open(t, d, cfg)
		dev, err := n.Start(t.Context(), vmnet.Config{UUID: id})
		if err != nil {
			t.Fatal(err)
		}
		return dev
	}
	killed := func() {
		if err := start(newDriver(t)).(vmnet.Plugger).Plug(t.Context(), s.file, "eth0"); err != nil {
			t.Fatal(err)
		}
	}
	killed()
	second := newDriver(t)
	back := start(second)
	if err := second.Sweep(t.Context()); err != nil || !there() {
		t.Errorf("sweep took what is in use: %v", err)
	}
	if err := back.Close(); err != nil || there() { // without Plug
		t.Errorf("closed, and it is left: %v", err)
	}
	killed()
	if err := newDriver(t).Sweep(t.Context()); err != nil || there() {
		t.Errorf("swept, and it is left: %v", err)
	}
}
