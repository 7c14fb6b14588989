package tap_test

import (
	"errors"
	"os"
	"testing"

	"github.com/google/uuid"
	"github.com/vishvananda/netlink"

	"github.com/vmnet-cni/vmnet/internal/ownns"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// TestStartFails has Start fail after it has taken up the tap of a guest that has it
// too: the link stays for another try, with the same descriptor.
func TestStartFails(t *testing.T) {
	ownns.Needs(t)
	n := open(t, newDriver(t), vmnet.NetworkConfig{Subnet: subnet})
	id := uuid.New()
	d, err := n.Start(t.Context(), vmnet.Config{UUID: id, Tap: true})
	if err != nil {
		t.Fatal(err)
	}
	name, bridge := d.Info().HostInterfaces[0], n.Info().HostInterfaces[0]
	kept := func() map[string]*os.File {
		f, err := d.(vmnet.TapHolder).Tap()
		if err != nil {
			t.Fatal(err)
		}
		return map[string]*os.File{"tap": f}
	}
	guests, first, second := kept()["tap"], kept(), kept()
	defer guests.Close()
	before := indexOf(t, name)
	if err := errors.Join(d.(vmnet.Leaver).Leave(), n.(vmnet.Leaver).Leave()); err != nil {
		t.Fatal(err)
	}
	n = open(t, newDriver(t), vmnet.NetworkConfig{Subnet: subnet})
	l, err := netlink.LinkByName(bridge)
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Start(t.Context(), vmnet.Config{UUID: id, Tap: true, Files: first}); err == nil || indexOf(t, name) != before {
		t.Errorf("without a bridge: %v, link %d, want an error and the link %d", err, indexOf(t, name), before)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	n = open(t, newDriver(t), vmnet.NetworkConfig{Subnet: subnet})
	if d, err = n.Start(t.Context(), vmnet.Config{UUID: id, Tap: true, Files: second}); err != nil || indexOf(t, name) != before {
		t.Fatalf("again: %v, link %d, want %d", err, indexOf(t, name), before)
	}
	if err := d.Close(); err != nil || indexOf(t, name) != 0 {
		t.Errorf("closed: %v, link %d", err, indexOf(t, name))
	}
}
