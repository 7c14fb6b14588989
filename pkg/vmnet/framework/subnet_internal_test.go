package framework

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func TestComplete(t *testing.T) {
	sub := netip.MustParsePrefix("192.168.127.0/24")
	addr := netip.MustParseAddr
	for _, c := range []struct {
		name     string
		cfg      vmnet.NetworkConfig
		kind     kind
		gateway  string
		rangeEnd string // "" for none
		mtu      int
	}{
		{"shared", vmnet.NetworkConfig{Subnet: sub}, classic, "192.168.127.1", "192.168.127.2", 1500},
		{"own gateway", vmnet.NetworkConfig{Subnet: sub, Gateway: addr("192.168.127.100")}, classic, "192.168.127.100", "192.168.127.101", 1500},
		{"own range", vmnet.NetworkConfig{Subnet: sub, RangeEnd: addr("192.168.127.99")}, classic, "192.168.127.1", "192.168.127.99", 1500},
		{"smallest", vmnet.NetworkConfig{Subnet: netip.MustParsePrefix("10.0.0.4/30")}, classic, "10.0.0.5", "10.0.0.6", 1500},
		{"logical", vmnet.NetworkConfig{Subnet: sub, MTU: 9000}, logical, "192.168.127.1", "", 9000},
		{"host", vmnet.NetworkConfig{Subnet: sub, Mode: vmnet.Host}, classicH, "192.168.127.1", "", 1500},
		{"layer 2", vmnet.NetworkConfig{Layer2: true, Subnet: sub}, classic, "", "", 1500},
		{"bridged", vmnet.NetworkConfig{Mode: vmnet.Bridged, Uplink: "en0"}, classic, "", "", 0},
		{"no subnet", vmnet.NetworkConfig{}, classic, "", "", 1500},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := complete(c.cfg, c.kind)
			if err != nil {
				t.Fatal(err)
			}
			if text(got.Gateway) != c.gateway || text(got.RangeEnd) != c.rangeEnd || got.MTU != c.mtu {
				t.Errorf("gateway %s, range end %s, mtu %d; want %s, %s, %d", got.Gateway, got.RangeEnd, got.MTU, c.gateway, c.rangeEnd, c.mtu)
			}
		})
	}
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func TestCompleteRefuses(t *testing.T) {
	sub := netip.MustParsePrefix("192.168.127.0/24")
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	for want, cfg := range map[string]vmnet.NetworkConfig{
		"uplink: a bridged network needs one":              {Mode: vmnet.Bridged},
		`uplink "en0": only a bridged network has one`:     {Uplink: "en0"},
		"mode mode(9): want one of":                        {Mode: 9},
		"mtu 1279: want 1280 to 65520":                     {MTU: 1279},
		"mtu 65521: want 1280 to 65520":                    {MTU: 65521},
		"subnet 192.168.1.9/24: want a masked IPv4 subnet": {Subnet: prefix("192.168.1.9/24")},
		"subnet 192.168.1.0/31: want a masked IPv4 subnet": {Subnet: prefix("192.168.1.0/31")},
		"subnet 169.254.0.0/16: want one inside of":        {Subnet: prefix("169.254.0.0/16")},
		"subnet 192.0.0.0/8: want one inside of":           {Subnet: prefix("192.0.0.0/8")},
		"gateway 10.0.0.1: want an address from":           {Subnet: sub, Gateway: addr("10.0.0.1")},
		"gateway 192.168.127.0: want an address from":      {Subnet: sub, Gateway: addr("192.168.127.0")},
		"gateway 192.168.127.255: want an address":         {Subnet: sub, Gateway: addr("192.168.127.255")},
		"range end 192.168.127.255: want an address after": {Subnet: sub, Gateway: addr("192.168.127.254")},
		"range end 192.168.127.9: want an address after":   {Subnet: sub, Gateway: addr("192.168.127.9"), RangeEnd: addr("192.168.127.9")},
		"gateway 10.0.0.1, range end invalid IP: want a":   {Gateway: addr("10.0.0.1")},
		"subnet6 2001:db8::/64: want a masked /64":         {Subnet6: prefix("2001:db8::/64")},
		"subnet6 fd00::/48: want a masked /64":             {Subnet6: prefix("fd00::/48")},
		"host loopback: the gateway of driver vmnet":       {HostLoopback: true},
		"isolated: not in bridged mode":                    {Mode: vmnet.Bridged, Uplink: "en0", Isolated: true},
	} {
		_, err := complete(cfg, classic)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
		if !errors.Is(err, vmnet.InvalidArgument) && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%+v: %v is neither InvalidArgument nor ErrUnsupported", cfg, err)
		}
	}
}

func TestMask(t *testing.T) {
	for bits := range 31 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 20, 30, 40}), bits).Masked()
		m := mask(p)
		if got := prefixOf(netip.AddrFrom4([4]byte{10, 20, 30, 40}), m); got != p {
			t.Errorf("/%d: mask %s, back %s, want %s", bits, m, got, p)
		}
	}
	for _, m := range []string{"255.0.255.0", "0.0.0.1", "::1"} {
		if p := prefixOf(netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr(m)); p.IsValid() {
			t.Errorf("mask %s: %s", m, p)
		}
	}
	if p := prefixOf(netip.Addr{}, netip.Addr{}); p.IsValid() {
		t.Errorf("no address: %s", p)
	}
}

func TestCompare(t *testing.T) {
	a, b := netip.MustParsePrefix("192.168.64.0/24"), netip.MustParsePrefix("192.168.65.0/24")
	if err := compare(a, a); err != nil {
		t.Error(err)
	}
	if err := compare(netip.Prefix{}, a); err != nil {
		t.Error(err)
	}
	if err := compare(a, b); err == nil || !strings.Contains(err.Error(), a.String()) || !strings.Contains(err.Error(), b.String()) {
		t.Errorf("%v: want both subnets in the text", err)
	}
}

// FuzzComplete has configurations checked: what is accepted is whole.
func FuzzComplete(f *testing.F) {
	f.Add(uint8(0), "192.168.127.0/24", "", "", 1500)
	f.Add(uint8(1), "10.0.0.4/30", "10.0.0.5", "10.0.0.6", 0)
	f.Add(uint8(2), "192.168.0.0/16", "192.168.255.254", "", 9000)
	f.Fuzz(func(t *testing.T, k uint8, subnet, gateway, end string, mtu int) {
		cfg := vmnet.NetworkConfig{MTU: mtu}
		cfg.Subnet, _ = netip.ParsePrefix(subnet)
		cfg.Gateway, _ = netip.ParseAddr(gateway)
		cfg.RangeEnd, _ = netip.ParseAddr(end)
		got, err := complete(cfg, kind(k%3))
		if err != nil {
			return
		}
		if got.MTU < vmnet.MinMTU || got.MTU > vmnet.MaxMTU {
			t.Errorf("mtu %d", got.MTU)
		}
		if got.Subnet.IsValid() && !got.Subnet.Contains(got.Gateway) {
			t.Errorf("gateway %s, subnet %s", got.Gateway, got.Subnet)
		}
		if got.RangeEnd.IsValid() && (!got.Subnet.Contains(got.RangeEnd) || kind(k%3) == classic && !got.Gateway.Less(got.RangeEnd)) {
			t.Errorf("range end %s, gateway %s, subnet %s", got.RangeEnd, got.Gateway, got.Subnet)
		}
	})
}
