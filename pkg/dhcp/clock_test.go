package dhcp

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestClockGoesBack: an advertisement is repeated also when the clock went back since
// the last, so that the guest's router does not expire.
func TestClockGoesBack(t *testing.T) {
	r, err := NewV6(ConfigV6{GuestMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Addr: netip.MustParsePrefix("fd00::2/64")})
	if err != nil {
		t.Fatal(err)
	}
	arp := make([]byte, 42)
	be.PutUint16(arp[12:], etherARP)
	for ago, want := range map[time.Duration]int{time.Minute: 0, time.Hour: 1, -time.Hour: 1, -10 * 365 * 24 * time.Hour: 1} {
		r.advertised.Store(time.Now().Add(-ago).Unix())
		n := 0
		r.FromGuest(arp, func([]byte) { n++ })
		if n != want {
			t.Errorf("%s after the last: %d advertisements, want %d", ago, n, want)
		}
	}
}
