package vmnettest_test

import (
	"context"
	"sync"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/vmnettest"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

func TestHub(t *testing.T) {
	vmnettest.TestDriver(t, vmnettest.Harness{
		Driver: &vmnettest.Hub{}, Network: vmnet.NetworkConfig{Name: "hub"}, MaxQueue: vmnettest.DefaultQueue,
	})
}

func TestHubJumbo(t *testing.T) {
	vmnettest.TestDriver(t, vmnettest.Harness{
		Driver:   &vmnettest.Hub{Queue: 100},
		Network:  vmnet.NetworkConfig{Name: "jumbo", Mode: vmnet.Host, MTU: vmnet.MaxMTU},
		MaxQueue: 100,
	})
}

func TestPair(t *testing.T) {
	vmnettest.TestDriver(t, vmnettest.Harness{
		Driver: pairDriver{}, Network: vmnet.NetworkConfig{Name: "pair"},
		Direct: true, MaxQueue: vmnettest.DefaultQueue,
	})
}

// pairDriver is a driver whose networks are pairs. The hub checks and completes
// the configuration.
type pairDriver struct{ hub vmnettest.Hub }

func (p pairDriver) Open(ctx context.Context, cfg vmnet.NetworkConfig) (vmnet.Network, error) {
	n, err := p.hub.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &pairNetwork{Network: n}, nil
}

// A pairNetwork hands out the two ends of a cable. What a device tells of itself
// it borrows from a hub's network.
type pairNetwork struct {
	vmnet.Network
	mu    sync.Mutex // guards all following fields
	other vmnet.Device
	ends  []vmnet.Device
}

func (n *pairNetwork) Start(ctx context.Context, cfg vmnet.Config) (vmnet.Device, error) {
	lent, err := n.Network.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer lent.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	end := n.other
	n.other = nil
	if end == nil {
		a, b := vmnettest.NewPair(vmnettest.PairConfig{MTU: lent.Info().MTU})
		n.ends = append(n.ends, a, b)
		end, n.other = a, b
	}
	return &renamed{end, lent.Info()}, nil
}

func (n *pairNetwork) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range n.ends {
		d.Close()
	}
	return n.Network.Close()
}

// renamed is a device with another identity.
type renamed struct {
	vmnet.Device
	info vmnet.Info
}

func (r *renamed) Info() vmnet.Info { return r.info }
