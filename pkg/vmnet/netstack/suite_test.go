package netstack_test

import (
	"net/netip"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/vmnettest"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

func TestContract(t *testing.T) {
	subnet := netip.MustParsePrefix("192.168.127.0/24")
	for _, mode := range []vmnet.Mode{vmnet.Shared, vmnet.Host} {
		t.Run(mode.String(), func(t *testing.T) {
			vmnettest.TestDriver(t, vmnettest.Harness{
				Driver:  netstack.New(netstack.Config{}),
				Network: vmnet.NetworkConfig{Name: "suite", Mode: mode, Subnet: subnet},
			})
		})
	}
	for name, v4 := range map[string]netip.Prefix{"dual stack": subnet, "IPv6 only": {}} {
		t.Run(name, func(t *testing.T) {
			vmnettest.TestDriver(t, vmnettest.Harness{
				Driver:  netstack.New(netstack.Config{}),
				Network: vmnet.NetworkConfig{Name: "suite", Subnet: v4, Subnet6: netip.MustParsePrefix("fd00:127::/64")},
			})
		})
	}
	t.Run("offload", func(t *testing.T) {
		vmnettest.TestDriver(t, vmnettest.Harness{
			Driver:  netstack.New(netstack.Config{}),
			Network: vmnet.NetworkConfig{Name: "suite", Subnet: subnet, Offload: true},
		})
	})
	t.Run("layer 2", func(t *testing.T) {
		vmnettest.TestDriver(t, vmnettest.Harness{
			Driver:  netstack.New(netstack.Config{}),
			Network: vmnet.NetworkConfig{Name: "suite", Layer2: true},
		})
	})
}
