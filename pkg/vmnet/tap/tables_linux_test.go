package tap_test

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/ownns"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// tablesOf returns how many tables belong to the device's link.
func tablesOf(t *testing.T, d vmnet.Device) (n int) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range all {
		if strings.HasSuffix(table.Name, d.Info().HostInterfaces[0]) {
			n++
		}
	}
	return n
}

// fill gives the device a forward and rules: a table of each family.
func fill(t *testing.T, d vmnet.Device) vmnet.Forward {
	t.Helper()
	f := vmnet.Forward{Protocol: vmnet.TCP, External: netip.MustParseAddrPort("127.0.0.1:8081"), Internal: netip.MustParseAddrPort("192.168.127.2:80")}
	if err := d.(vmnet.Forwarder).AddForward(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if err := d.(vmnet.Ruler).SetRules(t.Context(), vmnet.Rules{Guard: vmnet.Guard{MAC: true}}); err != nil {
		t.Fatal(err)
	}
	if n := tablesOf(t, d); n != 2 {
		t.Fatalf("%d tables, want 2", n)
	}
	return f
}

// TestTablesOfAnother closes a device that came back after its process was killed,
// and did not get as far as to its forwards and rules: what it had before goes too.
func TestTablesOfAnother(t *testing.T) {
	ownns.Needs(t)
	id := uuid.New()
	start := func() vmnet.Device {
		n := open(t, newDriver(t), vmnet.NetworkConfig{Subnet: subnet})
		d, err := n.Start(t.Context(), vmnet.Config{UUID: id})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	fill(t, start()) // and nobody closes it, as if killed
	d := start()
	if n := tablesOf(t, d); n != 2 {
		t.Errorf("%d tables when it is back, want 2", n)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if n := tablesOf(t, d); n != 0 {
		t.Errorf("%d tables are left", n)
	}
}

// TestTablesAfterErrors closes a device of which something could not be taken away
// before.
func TestTablesAfterErrors(t *testing.T) {
	ownns.Needs(t)
	n := open(t, newDriver(t), vmnet.NetworkConfig{Subnet: subnet})
	d, err := n.Start(t.Context(), vmnet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	f := fill(t, d)
	powerless(t, func() {
		if err := d.(vmnet.Forwarder).RemoveForward(t.Context(), f); !errors.Is(err, vmnet.ErrPermission) {
			t.Errorf("remove forward: %v, want no permission", err)
		}
		if err := d.(vmnet.Ruler).SetRules(t.Context(), vmnet.Rules{}); !errors.Is(err, vmnet.ErrPermission) {
			t.Errorf("remove rules: %v, want no permission", err)
		}
	})
	if n := tablesOf(t, d); n != 2 {
		t.Fatalf("%d tables, want 2", n)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if n := tablesOf(t, d); n != 0 {
		t.Errorf("%d tables are left", n)
	}
}

// powerless runs fn on a thread without capabilities, which ends with it.
func powerless(t *testing.T, fn func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		var none [2]unix.CapUserData
		err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
