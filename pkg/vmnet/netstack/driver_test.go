package netstack_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

func TestOpenRefuses(t *testing.T) {
	p := netip.MustParsePrefix
	a := netip.MustParseAddr
	for _, c := range []struct {
		name string
		cfg  vmnet.NetworkConfig
		want error
		text string
	}{
		{"bridged", vmnet.NetworkConfig{Mode: vmnet.Bridged, Uplink: "en0"}, errors.ErrUnsupported, "bridged"},
		{"unknown mode", vmnet.NetworkConfig{Mode: 9, Subnet: subnet}, vmnet.InvalidArgument, "mode(9)"},
		{"IPv6 no /64", vmnet.NetworkConfig{Subnet: subnet, Subnet6: p("fd00::/72")}, vmnet.InvalidArgument, "fd00::/72"},
		{"IPv6 not masked", vmnet.NetworkConfig{Subnet: subnet, Subnet6: p("fd00::1/64")}, vmnet.InvalidArgument, "fd00::1/64"},
		{"IPv6 link-local", vmnet.NetworkConfig{Subnet6: p("fe80::/64")}, vmnet.InvalidArgument, "fe80::/64"},
		{"IPv6 multicast", vmnet.NetworkConfig{Subnet6: p("ff02::/64")}, vmnet.InvalidArgument, "ff02::/64"},
		{"IPv6 gateway", vmnet.NetworkConfig{Subnet6: p("fd00::/64"), Gateway: a("192.168.127.1")}, vmnet.InvalidArgument, "192.168.127.1"},
		{"IPv4 as subnet6", vmnet.NetworkConfig{Subnet6: subnet}, vmnet.InvalidArgument, "192.168.127.0/24"},
		{"layer 2 with subnet6", vmnet.NetworkConfig{Subnet6: p("fd00::/64"), Layer2: true}, vmnet.InvalidArgument, "layer-2"},
		{"uplink", vmnet.NetworkConfig{Subnet: subnet, Uplink: "en0"}, vmnet.InvalidArgument, "en0"},
		{"no subnet", vmnet.NetworkConfig{}, vmnet.InvalidArgument, "subnet"},
		{"IPv6 as subnet", vmnet.NetworkConfig{Subnet: p("fd00::/64")}, vmnet.InvalidArgument, "fd00::/64"},
		{"not masked", vmnet.NetworkConfig{Subnet: p("10.1.2.3/24")}, vmnet.InvalidArgument, "10.1.2.0/24"},
		{"too small", vmnet.NetworkConfig{Subnet: p("10.1.2.2/31")}, vmnet.InvalidArgument, "8 to 30"},
		{"too large", vmnet.NetworkConfig{Subnet: p("10.0.0.0/7")}, vmnet.InvalidArgument, "8 to 30"},
		{"loopback", vmnet.NetworkConfig{Subnet: p("127.0.0.0/24")}, vmnet.InvalidArgument, "127.0.0.0/24"},
		{"multicast", vmnet.NetworkConfig{Subnet: p("224.1.0.0/24")}, vmnet.InvalidArgument, "224.1.0.0/24"},
		{"gateway elsewhere", vmnet.NetworkConfig{Subnet: subnet, Gateway: a("10.0.0.1")}, vmnet.InvalidArgument, "10.0.0.1"},
		{"gateway is the network", vmnet.NetworkConfig{Subnet: subnet, Gateway: a("192.168.127.0")}, vmnet.InvalidArgument, "192.168.127.0"},
		{"gateway is broadcast", vmnet.NetworkConfig{Subnet: subnet, Gateway: a("192.168.127.255")}, vmnet.InvalidArgument, "192.168.127.255"},
		{"gateway is the loopback's", vmnet.NetworkConfig{Subnet: subnet, Gateway: a("192.168.127.254"), HostLoopback: true}, vmnet.InvalidArgument, "192.168.127.254"},
		{"MTU too small", vmnet.NetworkConfig{Subnet: subnet, MTU: 1279}, vmnet.InvalidArgument, "1279"},
		{"MTU too large", vmnet.NetworkConfig{Subnet: subnet, MTU: 65521}, vmnet.InvalidArgument, "65521"},
		{"resolver without port", vmnet.NetworkConfig{Subnet: subnet, Resolvers: []netip.AddrPort{netip.AddrPortFrom(a("1.1.1.1"), 0)}}, vmnet.InvalidArgument, "1.1.1.1"},
		{"layer 2 with subnet", vmnet.NetworkConfig{Subnet: subnet, Layer2: true}, vmnet.InvalidArgument, "layer-2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := netstack.New(netstack.Config{}).Open(context.Background(), c.cfg)
			if err == nil {
				_ = n.Close()
			}
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("open: %v, want %v that names %q", err, c.want, c.text)
			}
		})
	}
}

func TestOpenDefaults(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	i := n.Info()
	if i.Gateway.String() != "192.168.127.1" || i.MTU != 1500 || i.Domain != "vm.internal" || i.HostLoopbackAddr.String() != "192.168.127.254" {
		t.Errorf("granted: %+v", i)
	}
	n = openNetwork(t, netstack.Config{}, func(c *vmnet.NetworkConfig) { c.Subnet, c.HostLoopback, c.Layer2 = netip.Prefix{}, false, true })
	if err := n.SetNames("c", []string{"web"}, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("names of a layer-2 network: %v, want unsupported", err)
	}
	n.RemoveNames("c")
}
