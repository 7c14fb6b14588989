package guest_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vmnet-cni/vmnet/conformance/guest"
	"github.com/vmnet-cni/vmnet/pkg/dhcp"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/vmnettest"
)

var leased = guest.Lease{
	Address: addrA, Router: netip.MustParseAddr("10.9.8.254"), Server: netip.MustParseAddr("10.9.8.254"),
	DNS:    []netip.Addr{netip.MustParseAddr("10.9.8.254"), netip.MustParseAddr("9.9.9.9")},
	Domain: "vm.internal", Search: []string{"vm.internal", "example.org"}, Hostname: "one", MTU: 1400,
	LeaseTime: time.Hour, T1: 30 * time.Minute, T2: 52*time.Minute + 30*time.Second,
}

// behindRelay returns a guest behind a relay with a DHCP responder, on one
// interface of a hub, and the interface of another.
func behindRelay(t *testing.T) (*guest.Guest, *dhcp.Responder, *vmnet.Interface) {
	hub, err := (&vmnettest.Hub{}).Open(t.Context(), vmnet.NetworkConfig{Subnet: addrA.Masked()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hub.Close() })
	start := func(cfg vmnet.Config) *vmnet.Interface {
		d, err := hub.Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return vmnet.NewInterface("hub", d)
	}
	ifc, other := start(vmnet.Config{MAC: macA}), start(vmnet.Config{MAC: macB})
	responder, err := dhcp.New(dhcp.Config{
		GuestMAC: macA, Addr: leased.Address, Gateway: leased.Router, DNS: leased.DNS, Domain: leased.Domain,
		Search: leased.Search, Hostname: leased.Hostname, MTU: leased.MTU, LeaseTime: leased.LeaseTime,
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(ifc, relay.Config{Stages: []relay.Stage{responder}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	guestEnd, hostEnd, err := handover.Pair(handover.KindDgram, ifc.MaxPacketSize(), false)
	if err != nil {
		t.Fatal(err)
	}
	r.Attach(port(t, handover.KindDgram, hostEnd), "fd")
	g, err := guest.New(port(t, handover.KindDgram, guestEnd), guest.Config{MAC: macA, Hostname: "guest"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g, responder, other
}

func TestDHCP(t *testing.T) {
	g, responder, _ := behindRelay(t)
	if _, err := g.Renew(soon(t)); err == nil {
		t.Errorf("renew without a lease: no error")
	}
	if err := g.Release(soon(t)); err == nil {
		t.Errorf("release without a lease: no error")
	}
	same := func(what string, got guest.Lease, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if d := cmp.Diff(leased, got, cmpopts.IgnoreFields(guest.Lease{}, "Message"), cmp.Comparer(prefixEqual), cmp.Comparer(addrEqual)); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	got, err := g.DHCP(soon(t))
	same("dhcp", got, err)
	same("the guest's lease", g.Lease(), nil)
	got, err = g.Reboot(soon(t), leased.Address.Addr())
	same("reboot", got, err)
	if _, err := g.Reboot(soon(t), netip.MustParseAddr("10.9.8.99")); !errors.Is(err, guest.ErrNAK) {
		t.Errorf("reboot with another's address: %v, want ErrNAK", err)
	}
	got, err = g.DHCP(soon(t))
	same("dhcp again", got, err)
	// At least: the guest asks again when an answer is late.
	if s := responder.Stats(); s.Discovers < 2 || s.Offers < 2 || s.Acks < 3 || s.Naks < 1 {
		t.Errorf("responder: %+v", s)
	}
}

func prefixEqual(a, b netip.Prefix) bool { return a == b }
func addrEqual(a, b netip.Addr) bool     { return a == b }

// TestRenew has another guest play the gateway: renewing is by unicast, so its
// MAC must be found first.
func TestRenew(t *testing.T) {
	g, responder, other := behindRelay(t)
	if _, err := g.DHCP(soon(t)); err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		buf := make([]byte, other.MaxPacketSize())
		for {
			n, err := other.ReadContext(soon(t), buf)
			if err != nil {
				return
			}
			if f := buf[:n]; n >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 1 { // an ARP request
				reply := slices.Clone(f[:42])
				copy(reply, f[6:12])
				copy(reply[6:], macB)
				reply[21] = 2
				copy(reply[22:], macB)
				copy(reply[28:], f[38:42])
				copy(reply[32:], f[22:32])
				_ = other.Write(reply)
			}
		}
	}()
	l, err := g.Renew(soon(t))
	if err != nil || l.Address != leased.Address {
		t.Errorf("renew: %v, %v", l.Address, err)
	}
	if err := g.Release(soon(t)); err != nil {
		t.Errorf("release: %v", err)
	}
	for end := time.Now().Add(time.Minute); responder.Stats().Releases == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the release did not arrive: %+v", responder.Stats())
		}
	}
	other.Close()
	<-done
}
