package vmnettest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A Hub is a driver whose networks are switches in memory: interfaces reach each
// other unless the network is isolated, and nothing else. There is no gateway
// behind the gateway's address. The zero value is ready to use.
type Hub struct {
	// Queue is how many unread frames an interface keeps; more are dropped and
	// counted. Zero: DefaultQueue.
	Queue int
}

var _ vmnet.Driver = (*Hub)(nil)

// Open implements vmnet.Driver. Bridged networks are not supported.
func (h *Hub) Open(ctx context.Context, cfg vmnet.NetworkConfig) (vmnet.Network, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cfg, err := complete(cfg)
	if err != nil {
		return nil, err
	}
	queue := h.Queue
	if queue == 0 {
		queue = DefaultQueue
	}
	return &hubNetwork{info: vmnet.NetworkInfo{NetworkConfig: cfg}, queue: queue, ports: map[[6]byte]*Device{}}, nil
}

// complete checks cfg and fills in the defaults.
func complete(cfg vmnet.NetworkConfig) (vmnet.NetworkConfig, error) {
	bad := func(format string, args ...any) (vmnet.NetworkConfig, error) {
		return cfg, fmt.Errorf(format+": %w", append(args, vmnet.InvalidArgument)...)
	}
	if cfg.MTU == 0 {
		cfg.MTU = vmnet.DefaultMTU
	}
	if cfg.Domain == "" {
		cfg.Domain = vmnet.DefaultDomain
	}
	if cfg.Layer2 {
		cfg.Subnet, cfg.Subnet6, cfg.Gateway = netip.Prefix{}, netip.Prefix{}, netip.Addr{}
	} else if !cfg.Subnet.IsValid() && !cfg.Subnet6.IsValid() {
		cfg.Subnet = netip.MustParsePrefix("192.168.127.0/24")
	}
	if cfg.Subnet.IsValid() && !cfg.Gateway.IsValid() {
		cfg.Gateway = vmnet.FirstAddr(cfg.Subnet)
	}
	switch {
	case cfg.Mode == vmnet.Bridged:
		return cfg, fmt.Errorf("mode %s: %w", cfg.Mode, errors.ErrUnsupported)
	case cfg.Mode > vmnet.Bridged:
		return bad("%s: want one of %q", cfg.Mode, vmnet.Modes())
	case cfg.MTU < vmnet.MinMTU || cfg.MTU > vmnet.MaxMTU:
		return bad("mtu %d: want %d to %d", cfg.MTU, vmnet.MinMTU, vmnet.MaxMTU)
	case cfg.Subnet.IsValid() && (!cfg.Subnet.Addr().Is4() || cfg.Subnet != cfg.Subnet.Masked() || cfg.Subnet.Bits() > 30):
		return bad("subnet %s: want a masked IPv4 prefix of at most 30 bits", cfg.Subnet)
	case cfg.Gateway.IsValid() && !cfg.Subnet.Contains(cfg.Gateway):
		return bad("gateway %s: want an address in %s", cfg.Gateway, cfg.Subnet)
	case cfg.RangeEnd.IsValid() && !cfg.Subnet.Contains(cfg.RangeEnd):
		return bad("range end %s: want an address in %s", cfg.RangeEnd, cfg.Subnet)
	case cfg.Subnet6.IsValid() && (!cfg.Subnet6.Addr().Is6() || cfg.Subnet6 != cfg.Subnet6.Masked() || cfg.Subnet6.Bits() != 64):
		return bad("subnet6 %s: want a masked IPv6 prefix of 64 bits", cfg.Subnet6)
	}
	return cfg, nil
}

// A hubNetwork is a switch.
type hubNetwork struct {
	info    vmnet.NetworkInfo
	queue   int
	dropped atomic.Uint64

	mu     sync.RWMutex // guards all following fields
	ports  map[[6]byte]*Device
	closed bool
}

// Info implements vmnet.Network.
func (n *hubNetwork) Info() vmnet.NetworkInfo { return n.info }

// Start implements vmnet.Network. It refuses a MAC that an interface of the
// network has.
func (n *hubNetwork) Start(ctx context.Context, cfg vmnet.Config) (vmnet.Device, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if m := cfg.MAC; m != nil && (len(m) != 6 || m[0]&1 != 0) {
		return nil, fmt.Errorf("mac %s: want a unicast address of 6 bytes: %w", m, vmnet.InvalidArgument)
	}
	d := newDevice(cfg, n.info.MTU, n.queue)
	d.info.Subnet, d.info.Gateway, d.info.Subnet6 = n.info.Subnet, n.info.Gateway, n.info.Subnet6
	mac := [6]byte(d.info.MAC)
	d.send = func(frames [][]byte) int { n.forward(d, frames); return len(frames) }
	d.left = func() { n.leave(mac) }
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, vmnet.ErrClosed
	}
	if n.ports[mac] != nil {
		return nil, fmt.Errorf("mac %s: taken on this network: %w", d.info.MAC, vmnet.InvalidArgument)
	}
	n.ports[mac] = d
	return d, nil
}

func (n *hubNetwork) leave(mac [6]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.ports, mac)
}

// forward passes frames to the interface that has their destination, or to all
// others. An interface that is full loses them; nobody waits for it.
func (n *hubNetwork) forward(from *Device, frames [][]byte) {
	if n.info.Isolated {
		return
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	for k := range frames {
		one := frames[k : k+1]
		if to := n.ports[[6]byte(one[0])]; to != nil {
			n.give(from, to, one)
			continue
		}
		for _, to := range n.ports {
			n.give(from, to, one)
		}
	}
}

func (n *hubNetwork) give(from, to *Device, one [][]byte) {
	if to != from && to.receive(one) == 0 {
		n.dropped.Add(1)
	}
}

// Close implements vmnet.Network.
func (n *hubNetwork) Close() error {
	n.mu.Lock()
	n.closed = true
	ports := make([]*Device, 0, len(n.ports))
	for _, d := range n.ports {
		ports = append(ports, d)
	}
	n.mu.Unlock()
	for _, d := range ports {
		d.Close()
	}
	return nil
}
