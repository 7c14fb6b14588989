package vmnet_test

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func TestAnnounce(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	v4, gw4 := netip.MustParseAddr("10.5.5.9"), netip.MustParseAddr("10.5.5.1")
	v6, gw6 := netip.MustParseAddr("fd00::9"), netip.MustParseAddr("fd00::1")
	for name, c := range map[string]struct {
		frame []byte
		want  string
	}{
		"gratuitous ARP": {vmnet.Announce(mac, v4), "ffffffffffff020000000009" + "0806" + "0001080006040001" + "020000000009" + "0a050509" + "000000000000" + "0a050509"},
		"ARP request":    {vmnet.AskFor(mac, v4, gw4), "ffffffffffff020000000009" + "0806" + "0001080006040001" + "020000000009" + "0a050509" + "000000000000" + "0a050501"},
		"advertisement":  {vmnet.Announce(mac, v6), "333300000001020000000009" + "86dd" + "6000000000203aff"},
		"solicitation":   {vmnet.AskFor(mac, v6, gw6), "3333ff000001020000000009" + "86dd" + "6000000000203aff"},
	} {
		if got := hex.EncodeToString(c.frame); len(got) < len(c.want) || got[:len(c.want)] != c.want {
			t.Errorf("%s: %s, want %s…", name, got, c.want)
		}
	}
	for _, f := range [][]byte{vmnet.Announce(mac, v6), vmnet.AskFor(mac, v6, gw6)} {
		if sum := checksum(f); sum != 0xffff {
			t.Errorf("checksum of %x: the sum is %#x", f, sum)
		}
	}
	if vmnet.Announce(mac, netip.Addr{}) != nil || vmnet.AskFor(mac, v4, gw6) != nil {
		t.Error("frames for what cannot be")
	}
}

// checksum sums the pseudo-header and the ICMPv6 message as RFC 1071 verifies it.
func checksum(f []byte) uint32 {
	b := append([]byte{0, 0, 0, 32, 0, 0, 0, 58}, f[14+8:]...)
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return sum
}
