package vmnet_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/uuid"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func TestMACFromUUID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := uuid.New()
		mac := vmnet.MACFromUUID(id)
		if len(mac) != 6 || mac[0]&3 != 2 {
			t.Fatalf("%s: want 6 bytes, locally administered, unicast", mac)
		}
		if !bytes.Equal(mac, vmnet.MACFromUUID(id)) {
			t.Fatalf("%s: another MAC the second time", id)
		}
		seen[mac.String()] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different MACs of 1000", len(seen))
	}
	// What was given to guests must not change with a release.
	if got := vmnet.MACFromUUID(uuid.MustParse("00000000-0000-0000-0000-000000000001")).String(); got != wantMAC {
		t.Errorf("MAC %s, want %s as ever", got, wantMAC)
	}
	if got := vmnet.GatewayMAC("shared").String(); got != wantGatewayMAC {
		t.Errorf("gateway's MAC %s, want %s as ever", got, wantGatewayMAC)
	}
}

const (
	wantMAC        = "7e:3c:cd:10:bb:7e"
	wantGatewayMAC = "fa:35:a5:89:51:d2"
)

func TestFirstAndLastAddr(t *testing.T) {
	for _, c := range []struct{ subnet, first, last string }{
		{"192.168.127.0/24", "192.168.127.1", "192.168.127.254"},
		{"192.168.127.77/24", "192.168.127.1", "192.168.127.254"},
		{"10.0.0.0/8", "10.0.0.1", "10.255.255.254"},
		{"10.1.2.4/30", "10.1.2.5", "10.1.2.6"},
		{"10.1.2.4/31", "10.1.2.4", "10.1.2.5"},
		{"10.1.2.4/32", "10.1.2.4", "10.1.2.4"},
		{"0.0.0.0/0", "0.0.0.1", "255.255.255.254"},
		{"fd5e:ed00:127::/64", "fd5e:ed00:127::1", "fd5e:ed00:127:0:ffff:ffff:ffff:ffff"},
		{"fd00::4/127", "fd00::4", "fd00::5"},
		{"fd00::4/128", "fd00::4", "fd00::4"},
	} {
		p := netip.MustParsePrefix(c.subnet)
		if got := vmnet.FirstAddr(p); got.String() != c.first {
			t.Errorf("first of %s is %s, want %s", p, got, c.first)
		}
		if got := vmnet.LastAddr(p); got.String() != c.last {
			t.Errorf("last of %s is %s, want %s", p, got, c.last)
		}
	}
	for _, p := range []netip.Prefix{{}, netip.PrefixFrom(netip.MustParseAddr("10.0.0.1"), 33)} {
		if first, last := vmnet.FirstAddr(p), vmnet.LastAddr(p); first.IsValid() || last.IsValid() {
			t.Errorf("%s: first %s, last %s, want none", p, first, last)
		}
	}
}

func FuzzFirstAndLastAddr(f *testing.F) {
	f.Add([]byte{192, 168, 127, 0}, 24)
	f.Add([]byte{10, 0, 0, 0}, 31)
	f.Add(make([]byte, 16), 0)
	f.Fuzz(func(t *testing.T, raw []byte, bits int) {
		a, _ := netip.AddrFromSlice(raw)
		p := netip.PrefixFrom(a, bits)
		first, last := vmnet.FirstAddr(p), vmnet.LastAddr(p)
		if !p.IsValid() {
			if first.IsValid() || last.IsValid() {
				t.Fatalf("%s: first %s, last %s, want none", p, first, last)
			}
			return
		}
		if !p.Contains(first) || !p.Contains(last) || last.Less(first) {
			t.Fatalf("%s: first %s, last %s", p, first, last)
		}
	})
}
