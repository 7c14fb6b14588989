package netstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A Network is a switch and, unless it is layer 2 only, a gateway. It implements
// vmnet.Network.
type Network struct {
	cfg     Config
	info    vmnet.NetworkInfo
	fabric  *fabric
	gateway *gateway // nil: layer 2 only
	count   counters

	mu      sync.Mutex // guards all following fields
	closed  bool
	devices map[*device]struct{}

	stop      chan struct{} // closed to end the janitor
	janitor   sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

var (
	_ vmnet.Network = (*Network)(nil)
	_ vmnet.Namer   = (*Network)(nil)
)

func open(cfg Config, info vmnet.NetworkInfo) (*Network, error) {
	n := &Network{
		cfg:     cfg,
		info:    info,
		devices: make(map[*device]struct{}),
		stop:    make(chan struct{}),
	}
	n.fabric = newFabric(cfg.Limits, info.Isolated, info.Offload, &n.count)
	if !info.Layer2 {
		g, err := newGateway(cfg, info, n.fabric, &n.count)
		if err != nil {
			return nil, err
		}
		n.gateway = g
	}
	n.janitor.Add(1)
	go n.clean()
	return n, nil
}

// Info implements vmnet.Network.
func (n *Network) Info() vmnet.NetworkInfo { return n.info }

// SetNames implements vmnet.Namer.
func (n *Network) SetNames(key string, names []string, addrs []netip.Addr) error {
	if n.gateway == nil {
		return fmt.Errorf("names %q: a layer-2 network has no gateway that could answer: %w", names, errors.ErrUnsupported)
	}
	return n.gateway.dns.names.Set(key, names, addrs)
}

// RemoveNames implements vmnet.Namer.
func (n *Network) RemoveNames(key string) {
	if n.gateway != nil {
		n.gateway.dns.names.Remove(key)
	}
}

// Stats returns the network's counters.
func (n *Network) Stats() Stats {
	var s Stats
	n.fabric.fill(&s)
	n.count.fill(&s)
	if n.gateway != nil {
		n.gateway.fill(&s)
	}
	return s
}

// Start implements vmnet.Network. A MAC that another device of the network has,
// or the gateway's, is refused with vmnet.InvalidArgument.
func (n *Network) Start(ctx context.Context, cfg vmnet.Config) (vmnet.Device, error) {
	d, err := n.start(ctx, cfg)
	if err != nil {
		for _, f := range cfg.Files {
			_ = f.Close()
		}
		return nil, err
	}
	return d, nil
}

func (n *Network) start(ctx context.Context, cfg vmnet.Config) (*device, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cfg.UUID == uuid.Nil {
		cfg.UUID = uuid.New()
	}
	if cfg.MAC == nil {
		cfg.MAC = vmnet.MACFromUUID(cfg.UUID)
	}
	if len(cfg.MAC) != 6 || cfg.MAC[0]&1 != 0 || keyOf(cfg.MAC) == 0 {
		return nil, fmt.Errorf("mac %s: want 6 octets, unicast: %w", cfg.MAC, vmnet.InvalidArgument)
	}
	d := &device{net: n, info: n.deviceInfo(cfg), port: n.fabric.newPort(keyOf(cfg.MAC))}
	d.forwards = newForwards(d, cfg.Files)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, vmnet.ErrClosed
	}
	if n.gateway != nil {
		d.port.gro.init(n.gateway.link)
	}
	if !n.fabric.addPort(d.port) {
		return nil, fmt.Errorf("mac %s: another interface of the network has it: %w", cfg.MAC, vmnet.InvalidArgument)
	}
	if d.limited = cfg.Limited && n.gateway != nil; d.limited {
		n.gateway.limited.Add(1)
	}
	n.devices[d] = struct{}{}
	return d, nil
}

func (n *Network) deviceInfo(cfg vmnet.Config) vmnet.Info {
	size := n.info.MTU + vmnet.HeaderLen
	if n.info.Offload {
		size = offloadFrame
	}
	// A batch's buffers should stay within 1 MiB or so, whatever the MTU.
	batch := min(maxBatch, max(16, 1<<20/size))
	return vmnet.Info{
		UUID: cfg.UUID, MAC: append(net.HardwareAddr(nil), cfg.MAC...),
		MTU: n.info.MTU, MaxPacketSize: size, ReadBatch: batch, WriteBatch: batch,
		Subnet: n.info.Subnet, Gateway: n.info.Gateway, Subnet6: n.info.Subnet6,
	}
}

// removeDevice ends what d has on the network.
func (n *Network) removeDevice(d *device) {
	n.fabric.removePort(d.port)
	if n.gateway != nil {
		if d.limited {
			n.gateway.limited.Add(-1) // Close comes here once
		}
		n.gateway.forget(d.info.MAC)
	}
	n.mu.Lock()
	delete(n.devices, d)
	n.mu.Unlock()
}

// open returns the devices that are not closed.
func (n *Network) open() []*device {
	n.mu.Lock()
	defer n.mu.Unlock()
	devices := make([]*device, 0, len(n.devices))
	for d := range n.devices {
		devices = append(devices, d)
	}
	return devices
}

// clean ends idle flows and forgets old addresses, until Close.
func (n *Network) clean() {
	defer n.janitor.Done()
	tick := time.NewTicker(n.cfg.Limits.tick())
	defer tick.Stop()
	for {
		select {
		case <-n.stop:
			return
		case now := <-tick.C:
			n.fabric.age(now)
			if n.gateway != nil {
				n.gateway.expire(now)
			}
			for _, d := range n.open() {
				d.forwards.expire(now)
			}
		}
	}
}

// Close implements vmnet.Network. It closes the devices, ends all flows with
// RST, and returns when no goroutine is left.
func (n *Network) Close() error {
	n.closeOnce.Do(func() {
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		for _, d := range n.open() {
			n.closeErr = d.Close()
		}
		close(n.stop)
		n.janitor.Wait()
		if n.gateway != nil {
			n.gateway.close()
		}
	})
	return n.closeErr
}
