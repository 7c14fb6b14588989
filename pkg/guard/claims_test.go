package guard_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/guard"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// from returns a packet from an IPv6 address and the MAC.
func from(mac net.HardwareAddr, src string) []byte {
	return ether(mac, 0x86dd, ip6{src: src, dst: "2001:db8::1", next: 6, data: make([]byte, 20)}.bytes())
}

func TestFirstComeFirstServed(t *testing.T) {
	claims := guard.NewClaims(gateway)
	open := func(mac net.HardwareAddr, own string) *guard.Guard {
		g, err := guard.New(vmnet.Guard{MAC: true, IP: true, Addrs: addrs(own), Free: prefixes("fd00::/64")}, guard.Config{MAC: mac, Claims: claims})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	a := open(mine, "fd00::9")
	defer a.Release()
	send := func(g *guard.Guard, mac net.HardwareAddr, src string, want relay.Reason) {
		t.Helper()
		if _, why := g.FromGuest(from(mac, src), nil); why != want {
			t.Errorf("from %s: %s, want %s", src, why, want)
		}
	}
	const temporary, squatted = "fd00::1234:5678", "fd00::8"
	send(a, mine, temporary, pass)
	send(a, mine, squatted, pass) // nobody's yet
	send(a, mine, "fe80::ff:fe00:8", pass)
	send(a, mine, "fd01::1", relay.ReasonGuardIP) // outside
	b := open(theirs, "fd00::8")
	defer b.Release()
	send(b, theirs, temporary, relay.ReasonGuardIP)
	send(b, theirs, "fd00::9", relay.ReasonGuardIP)
	send(b, theirs, ourLink, relay.ReasonGuardIP)
	send(b, theirs, squatted, pass) // it was given to b
	send(b, theirs, "fe80::ff:fe00:8", pass)
	send(a, mine, squatted, relay.ReasonGuardIP)
	send(a, mine, "fe80::ff:fe00:8", relay.ReasonGuardIP)
	send(a, mine, temporary, pass) // still
	// However many a makes, the others keep theirs, and the last ones work.
	for i := range 1000 {
		send(a, mine, fmt.Sprintf("fd00::5:%x", i), pass)
	}
	send(b, theirs, "fd00::5:1", pass) // long given up
	send(b, theirs, "fd00::5:3e7", relay.ReasonGuardIP)
	a.Release()
	send(b, theirs, "fd00::5:3e7", pass)
	send(b, theirs, "fe80::1", relay.ReasonGuardIP)
}
