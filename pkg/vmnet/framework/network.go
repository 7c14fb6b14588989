//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// network implements vmnet.Network and vmnet.Serializer; only a logical one can be
// serialized.
type network struct {
	drv  *driver
	cfg  vmnet.NetworkConfig // as completed by Open; never changes
	kind kind

	starts sync.WaitGroup // calls of Start under way; Add with mu held and not closed

	mu      sync.Mutex // guards all following fields
	info    vmnet.NetworkInfo
	devices map[*device]struct{}
	closed  bool
	ref     uintptr // vmnet_network_ref of a logical network
	users   int     // of ref: the network itself, and calls into C with it

	closeOnce sync.Once
	closeErr  error
}

func newNetwork(d *driver, cfg vmnet.NetworkConfig, k kind) *network {
	return &network{
		drv: d, cfg: cfg, kind: k, info: vmnet.NetworkInfo{NetworkConfig: cfg},
		devices: make(map[*device]struct{}), users: 1,
	}
}

// create makes what the framework needs before the first interface. A classic
// network is nothing but the description of each interface: that is tried, so
// that an unsupported feature or a missing privilege is an error of Open.
func (n *network) create(ctx context.Context) error {
	if n.kind == logical {
		return n.createLogical(ctx)
	}
	desc := n.describe(vmnet.Config{UUID: uuid.Max})
	desc.release()
	if desc.err != nil {
		return desc.err
	}
	return n.probe(ctx)
}

// probe starts an interface and stops it again, once for a driver whose process
// is not root: the older calls tell of a missing privilege in no other way.
func (n *network) probe(ctx context.Context) error {
	if n.drv.root || n.drv.privileged.Load() {
		return nil
	}
	if err := n.drv.acquire(); err != nil {
		return err
	}
	d, err := n.start(ctx, vmnet.Config{UUID: uuid.New()})
	if err != nil {
		return err
	}
	n.drv.privileged.Store(true)
	return d.Close()
}

// Info implements vmnet.Network. RangeEnd is set where a DHCP server of the
// system answers guests that ask it: the addresses after Gateway up to RangeEnd
// are its own.
func (n *network) Info() vmnet.NetworkInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.info
}

// grant keeps the addresses that the system chose for a network that left the
// choice to it.
func (n *network) grant(subnet netip.Prefix, gateway, rangeEnd netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.info.Subnet.IsValid() {
		n.info.Subnet, n.info.Gateway, n.info.RangeEnd = subnet, gateway, rangeEnd
	}
}

// Start implements vmnet.Network.
func (n *network) Start(ctx context.Context, cfg vmnet.Config) (vmnet.Device, error) {
	if err := checkMAC(cfg.MAC); err != nil {
		return nil, err
	}
	if cfg.UUID == uuid.Nil {
		cfg.UUID = uuid.New()
	}
	if err := n.begin(); err != nil {
		return nil, err
	}
	defer n.starts.Done()
	if err := n.drv.acquire(); err != nil {
		return nil, err
	}
	d, err := n.start(ctx, cfg) // gives the interface back when it fails
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.devices[d] = struct{}{}
	n.mu.Unlock()
	return d, nil
}

// begin counts a start, unless the network is closed.
func (n *network) begin() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return vmnet.ErrClosed
	}
	n.starts.Add(1)
	return nil
}

// checkMAC refuses what cannot be a guest's address.
func checkMAC(mac []byte) error {
	if mac == nil || len(mac) == 6 && mac[0]&1 == 0 && !slices.Equal(mac, make([]byte, 6)) {
		return nil
	}
	return fmt.Errorf("mac %x: want a unicast address of 6 bytes: %w", mac, vmnet.InvalidArgument)
}

// Close implements vmnet.Network.
func (n *network) Close() error {
	n.closeOnce.Do(func() {
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		n.starts.Wait() // each is limited by StartTimeout
		n.closeErr = errors.Join(n.closeDevices(), n.drop())
		n.drv.forget(n)
	})
	return n.closeErr
}

// closeDevices closes all at once: each may take as long as the framework does.
func (n *network) closeDevices() error {
	n.mu.Lock()
	var list []*device
	for d := range n.devices {
		list = append(list, d)
	}
	n.mu.Unlock()
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, d := range list {
		wg.Go(func() { errs[i] = d.Close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (n *network) forget(d *device) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.devices, d)
}

// use returns the network's reference, for a call into C that ends with unref.
func (n *network) use() uintptr {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.users++
	return n.ref
}

// drop gives back the network's own use of its reference, with a limit: the system
// takes the network down when the last use ends.
func (n *network) drop() error {
	if n.kind != logical {
		n.unref()
		return nil
	}
	_, err := run(context.Background(), &n.drv.guard, callRelease, n.drv.cfg.StopTimeout, func() struct{} {
		n.unref()
		return struct{}{}
	}, nil)
	return err
}

// unref releases the reference after its last user: the system keeps a logical
// network for as long as the reference lives, and a call that hangs may still
// look at it.
func (n *network) unref() {
	n.mu.Lock()
	n.users--
	last := n.users == 0
	ref := n.ref
	n.mu.Unlock()
	if last {
		n.drv.api.release(ref)
	}
}
