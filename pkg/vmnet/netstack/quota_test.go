package netstack_test

import (
	"fmt"
	"io"
	"net/netip"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// TestSocketLimit has guests of two networks use up the host's sockets of a driver: a
// guest has a quarter, all have all, what ends is there for others, and what is beyond
// is refused and counted.
func TestSocketLimit(t *testing.T) {
	const limit, share = 8, 2
	d := netstack.New(netstack.Config{Limits: netstack.Limits{Sockets: limit}})
	network := func(i int) *netstack.Network {
		n, err := d.Open(t.Context(), vmnet.NetworkConfig{Name: fmt.Sprint(t.Name(), i), HostLoopback: true, Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
		return n.(*netstack.Network)
	}
	one, two := network(1), network(2)
	tcp, udp := listen(t, echo), listenUDP(t)
	refused := func(n *netstack.Network, g *guest, times uint64) {
		t.Helper()
		if c, err := g.dial(loopback(n, tcp)); err == nil {
			_ = c.Close()
			t.Error("a flow beyond the limit was accepted")
		}
		if got := n.Stats().Drops["socket-limit"]; got != times {
			t.Errorf("socket-limit counted %d times, want %d", got, times)
		}
	}
	a := newGuest(t, one, "10.0.1.2")
	first := a.mustDial(loopback(one, tcp))
	a.mustDial(loopback(one, tcp))
	refused(one, a, 1)
	if _, err := a.dialUDP(loopback(one, udp)).Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	wait(t, "a drop", func() bool { return one.Stats().Drops["socket-limit"] == 2 })
	b := newGuest(t, one, "10.0.1.3")
	for range 3 * share { // the flow unused longest makes room
		c := b.dialUDP(loopback(one, udp))
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if s := one.Stats(); s.UDP.Open != share || s.Drops["flow-evicted"] != 2*share {
		t.Errorf("stats %+v, want %d open and %d evicted", s, share, 2*share)
	}
	for i := range 2 {
		g := newGuest(t, two, fmt.Sprint("10.0.2.", 2+i))
		for range share {
			g.mustDial(loopback(two, tcp))
		}
	}
	late := newGuest(t, two, "10.0.2.9")
	refused(two, late, 1) // all are taken
	_ = first.CloseWrite()
	if _, err := io.ReadAll(first); err != nil {
		t.Fatal(err)
	}
	wait(t, "a socket", func() bool { return one.Stats().TCP.Open == 1 })
	wait(t, "a place", func() bool { c, err := late.dial(loopback(two, tcp)); return err == nil && c != nil })
}
