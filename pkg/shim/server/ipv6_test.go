package server_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// addrsOf returns the addresses of an attachment as text.
func addrsOf(a shim.Attachment) (list []string) {
	for _, ip := range a.IPs {
		list = append(list, ip.Address.String()+" via "+ip.Gateway.String())
	}
	return list
}

// TestVersions is which addresses a guest gets, by what the network asks for.
func TestVersions(t *testing.T) {
	p := netip.MustParsePrefix
	mac := "52:54:00:12:34:56"
	for _, c := range []struct {
		name   string
		spec   shim.NetworkSpec
		ips    []string
		want   []string
		routes int
	}{
		{"dual stack", shim.NetworkSpec{Subnet6: p("fd00:127::/64")}, nil,
			[]string{"192.168.127.2/24 via 192.168.127.1", "fd00:127::2/64 via fd00:127::1"}, 2},
		{"wanted addresses", shim.NetworkSpec{Subnet6: p("fd00:127::/64")}, []string{"fd00:127::77/64", "192.168.127.9"},
			[]string{"192.168.127.9/24 via 192.168.127.1", "fd00:127::77/64 via fd00:127::1"}, 2},
		{"SLAAC", shim.NetworkSpec{Subnet6: p("fd00:127::/64"), IPv6: "slaac"}, nil,
			[]string{"192.168.127.2/24 via 192.168.127.1", "fd00:127::5054:ff:fe12:3456/64 via fd00:127::1"}, 2},
		{"IPv4 only", shim.NetworkSpec{IPv6: "none"}, nil, []string{"192.168.127.2/24 via 192.168.127.1"}, 1},
		{"IPv6 only", shim.NetworkSpec{IPv4: "none", Subnet6: p("fd00:127::/64")}, nil, []string{"fd00:127::2/64 via fd00:127::1"}, 1},
		{"managed by name", shim.NetworkSpec{IPv4: "managed", IPv6: "managed", Subnet6: p("fd00:127::/64")}, nil,
			[]string{"192.168.127.2/24 via 192.168.127.1", "fd00:127::2/64 via fd00:127::1"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(newDirs(t))
			r := start(t, cfg)
			req := shim.AttachRequest{Network: c.spec, IPs: c.ips, MAC: mac}
			first := r.attach("n", "c1", req)
			if !slices.Equal(addrsOf(first), c.want) || len(first.Routes) != c.routes || len(first.DNS.Nameservers) != len(c.want) {
				t.Errorf("%q, routes %v, dns %v, want %q", addrsOf(first), first.Routes, first.DNS, c.want)
			}
			r.stop()
			r = start(t, cfg)
			if again := r.attach("n", "c1", req); !slices.Equal(addrsOf(again), c.want) || again.Problem != "" {
				t.Errorf("after a restart %q, %s", addrsOf(again), again.Problem)
			}
			n, err := r.Network(t.Context(), "n")
			if err != nil || n.Leases != 1 || n.Free < 200 || n.GatewayMAC == "" {
				t.Errorf("network %+v, %v", n, err)
			}
		})
	}
}

// TestChosenSubnet6 is the same for the same name, and another for another.
func TestChosenSubnet6(t *testing.T) {
	subnet := func(d shim.Dirs, name string) netip.Prefix {
		r := start(t, config(d))
		defer r.stop()
		a := r.attach(name, "c1", shim.AttachRequest{Network: shim.NetworkSpec{IPv4: "none"}})
		return a.IPs[0].Address.Masked()
	}
	here := newDirs(t)
	one, again, elsewhere, two := subnet(here, "one"), subnet(here, "one"), subnet(newDirs(t), "one"), subnet(here, "two")
	if one != again || one != elsewhere || one == two || one.Addr().As16()[0] != 0xfd || one.Bits() != 64 {
		t.Errorf("subnets %s, %s, elsewhere %s, of another name %s", one, again, elsewhere, two)
	}
}

// TestSLAACWish refuses an address that the guest will not have.
func TestSLAACWish(t *testing.T) {
	r := start(t, config(newDirs(t)))
	spec := shim.NetworkSpec{Subnet6: netip.MustParsePrefix("fd00:127::/64"), IPv6: "slaac"}
	_, err := r.Attach(t.Context(), "n", "c1", "eth0", shim.AttachRequest{Network: spec, IPs: []string{"fd00:127::9"}})
	if code := shim.CodeOf(err); code != shim.CodeInvalid {
		t.Errorf("%v, want %s", err, shim.CodeInvalid)
	}
}
