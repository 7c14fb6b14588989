package observe_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/vmnet-cni/vmnet/internal/observe"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

var mac = net.HardwareAddr{2, 0, 0, 0, 0, 9}

func arp(from net.HardwareAddr, sender string) []byte {
	f := append(bytes.Repeat([]byte{0xff}, 6), from...)
	f = append(f, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	f = append(append(f, from...), netip.MustParseAddr(sender).AsSlice()...)
	return append(f, make([]byte, 28)...)
}

func nd(kind byte, src, target string) []byte {
	f := append([]byte{0x33, 0x33, 0, 0, 0, 1}, mac...)
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255)
	f = append(f, netip.MustParseAddr(src).AsSlice()...)
	f = append(f, netip.MustParseAddr("ff02::1").AsSlice()...)
	f = append(f, kind, 0, 0, 0, 0, 0, 0, 0)
	return append(f, netip.MustParseAddr(target).AsSlice()...)
}

func discover(t testing.TB, id []byte) []byte {
	m, err := dhcpv4.NewDiscovery(mac, dhcpv4.WithOption(dhcpv4.OptClientIdentifier(id)))
	if err != nil {
		t.Fatal(err)
	}
	msg := m.ToBytes()
	f := append(bytes.Repeat([]byte{0xff}, 6), mac...)
	f = append(f, 8, 0, 0x45, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(28+len(msg)))
	f = append(f, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 68, 0, 67)
	f = binary.BigEndian.AppendUint16(f, uint16(8+len(msg)))
	return append(append(f, 0, 0), msg...)
}

func TestSightings(t *testing.T) {
	s := observe.New(mac)
	duid := []byte{255, 1, 2, 3, 4, 0, 2, 0, 0, 0xab, 0x11}
	for _, f := range [][]byte{
		arp(mac, "0.0.0.0"), arp(net.HardwareAddr{2, 0, 0, 0, 0, 8}, "192.168.1.8"), // a probe; another station
		arp(mac, "192.168.1.7"), arp(mac, "192.168.1.7"),
		nd(135, "::", "fe80::9"), nd(135, "fe80::9", "fe80::1"), nd(136, "fe80::9", "2001:db8::9"), nd(133, "fe80::9", "::"),
		discover(t, duid), {1, 2, 3}, make([]byte, 60),
	} {
		if v, _ := s.FromGuest(f, nil); v != relay.Pass {
			t.Errorf("verdict %v on % x", v, f)
		}
	}
	got := map[string]uint64{}
	for _, x := range s.Sightings() {
		got[x.Via+" "+x.Addr.String()] = x.Count
		if x.Last.Before(x.First) {
			t.Errorf("%+v", x)
		}
	}
	want := map[string]uint64{"arp 192.168.1.7": 2, "nd fe80::9": 2, "nd 2001:db8::9": 1}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("seen %v, want %v", got, want)
	}
	if !bytes.Equal(s.Identifier(), duid) {
		t.Errorf("identifier % x", s.Identifier())
	}
}

// TestBound has a guest that claims every address there is.
func TestBound(t *testing.T) {
	s := observe.New(mac)
	for i := range 300 {
		s.FromGuest(arp(mac, fmt.Sprintf("10.0.%d.%d", i/250, 1+i%250)), nil)
	}
	list := s.Sightings()
	if len(list) != observe.MaxAddrs || list[0].Addr.String() != "10.0.1.50" {
		t.Errorf("%d seen, the last %v", len(list), list[0])
	}
	if n := testing.AllocsPerRun(100, func() { s.FromGuest(arp(mac, "10.0.1.50"), nil) }); n > 10 {
		t.Errorf("%v allocations", n) // all of them the test's
	}
}

func FuzzStage(f *testing.F) {
	f.Add(arp(mac, "10.0.0.1"))
	f.Add(nd(135, "::", "fe80::9"))
	f.Add(discover(f, []byte{1, 2}))
	f.Fuzz(func(t *testing.T, frame []byte) {
		s := observe.New(mac)
		if v, _ := s.FromGuest(frame, nil); v != relay.Pass {
			t.Errorf("verdict %v", v)
		}
		for _, x := range s.Sightings() {
			if !x.Addr.IsValid() || x.Addr.IsMulticast() || x.Addr.IsUnspecified() {
				t.Errorf("%+v", x)
			}
		}
	})
}
