package server

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/dhcp"
	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A lateNetwork has its router after so many questions.
type lateNetwork struct {
	vmnet.Network
	left, asked int
}

var lateRouter = vmnet.Router{
	MAC: net.HardwareAddr{2, 0, 0, 0, 0, 7}, LinkLocal: netip.MustParseAddr("fe80::7"), Addr6: netip.MustParseAddr("fd00:127::77"),
}

func (n *lateNetwork) Router(context.Context) (vmnet.Router, error) {
	n.asked++
	if n.left--; n.left >= 0 {
		return vmnet.Router{}, vmnet.ErrNoRouter
	}
	return lateRouter, nil
}

// solicitation is a router solicitation of a guest.
func solicitation() []byte {
	f := make([]byte, 62)
	copy(f, []byte{0x33, 0x33, 0, 0, 0, 2, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 58, 255})
	copy(f[22:], netip.MustParseAddr("fe80::9").AsSlice())
	copy(f[38:], netip.MustParseAddr("ff02::2").AsSlice())
	f[54] = 133
	return f
}

// TestLateRouter answers before there is a router, names it when there is one, and
// does not look for it for ever.
func TestLateRouter(t *testing.T) {
	for _, late := range []int{2, 1000} {
		n := &lateNetwork{left: late}
		a := &attachment{
			net: &openNetwork{Network: n},
			rec: attachmentRecord{Key: ipam.Key{Network: "n"}, Granted: shim.NetworkSpec{Mode: vmnet.Shared, Subnet6: netip.MustParsePrefix("fd00:127::/64")}},
		}
		stage, err := newRouterStage(a, dhcp.ConfigV6{Addr: netip.MustParsePrefix("fd00:127::2/64"), ServerMAC: vmnet.GatewayMAC("n")})
		if err != nil {
			t.Fatal(err)
		}
		s := stage.(*routerStage)
		var lifetime, from byte
		for range 40 {
			s.next = time.Time{} // a second has passed
			s.FromGuest(solicitation(), func(f []byte) { lifetime, from = f[60], f[11] })
		}
		if found := late < routerTries; found != (lifetime == 0xff) || found != (from == 7) {
			t.Errorf("router after %d tries: advertised with lifetime %#x.. from ..:%x", late, lifetime, from)
		}
		if want := min(late+1, routerTries); n.asked != want {
			t.Errorf("asked %d times, want %d", n.asked, want)
		}
	}
}
