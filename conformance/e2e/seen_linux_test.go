package e2e_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/guest"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// TestSeen has a guest of a network without IPAM on driver vmnet: DHCP passes to
// the system's server, and the shim tells which address the guest uses.
func TestSeen(t *testing.T) {
	w := framework(t, 150000)
	delete(w.keys, "subnet")
	m := w.machine(t, map[string]any{"ipam": map[string]any{"type": "none"}})
	port, r := push(t, m, "a")
	mac, err := net.ParseMAC(r.Interfaces[0].Mac)
	if err != nil {
		t.Fatal(err)
	}
	g, err := guest.New(port, guest.Config{MAC: mac})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	l, err := g.DHCP(soon(t))
	if err != nil || len(r.IPs) != 0 {
		t.Fatalf("lease %+v, %v; result %+v", l, err, r.IPs)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		// Whoever looks for the gateway says its own address.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, _ = g.Ping(ctx, l.Router) // which the test's Mac does not have
		cancel()
		a, err := m.Client.Attachment(t.Context(), m.Network(), "a", e2e.IfName)
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Seen) == 1 && a.Seen[0].Address == l.Address.Addr() && a.Seen[0].Via == shim.SeenARP {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("seen %+v, want %s", a.Seen, l.Address)
		}
	}
	detach(t, m, "a", g)
}
