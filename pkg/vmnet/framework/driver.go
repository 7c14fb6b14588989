//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ebitengine/purego"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// driver implements vmnet.Driver, vmnet.BridgeLister, vmnet.GuestLimiter, Joiner
// and Inspector.
type driver struct {
	cfg       Config
	api       *api
	guard     guard
	root      bool
	truncated atomic.Int64
	adverts   atomic.Int64
	// privileged is set when a start by the older calls, or the creation of a
	// network, has been seen to work: 1001 means something else from then on.
	privileged atomic.Bool

	mu         sync.Mutex // guards all following fields
	networks   map[*network]struct{}
	interfaces int
}

var (
	_ vmnet.Driver       = (*driver)(nil)
	_ vmnet.BridgeLister = (*driver)(nil)
	_ vmnet.GuestLimiter = (*driver)(nil)
	_ Joiner             = (*driver)(nil)
	_ Inspector          = (*driver)(nil)
)

// newDriver loads the library and resolves the symbols.
func newDriver(cfg Config) (vmnet.Driver, error) {
	paths := oneLibrary(cfg.Library)
	if cfg.Library == "" {
		var err error
		if paths, err = libraries(); err != nil {
			return nil, err
		}
	}
	a, err := openLibraries(paths)
	if err != nil {
		return nil, fmt.Errorf("driver vmnet: %w", err)
	}
	initBridge()
	d := &driver{cfg: cfg, api: a, root: os.Geteuid() == 0, networks: make(map[*network]struct{})}
	d.guard.log = cfg.Log
	return d, nil
}

// Stats implements Inspector.
func (d *driver) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Stats{
		Networks: len(d.networks), Interfaces: d.interfaces,
		Hung: d.guard.hung.Load(), HungTotal: d.guard.total.Load(), Late: d.guard.late.Load(),
		Panics: bridge.panics.Load(), Truncated: d.truncated.Load(), Adverts: d.adverts.Load(),
		Handles: int(bridge.count.Load()), Blocks: bridge.live.Load(),
	}
}

// MaxGuestInterfaces implements vmnet.GuestLimiter.
func (d *driver) MaxGuestInterfaces() int { return MaxGuestInterfaces }

// Open implements vmnet.Driver.
func (d *driver) Open(ctx context.Context, cfg vmnet.NetworkConfig) (vmnet.Network, error) {
	return d.open(ctx, cfg, func(n *network) error { return n.create(ctx) })
}

// Join implements Joiner.
func (d *driver) Join(ctx context.Context, cfg vmnet.NetworkConfig, serialization []byte) (vmnet.Network, error) {
	if !d.api.modern() || !have(d.api.netJoin, d.api.dictSetData) {
		return nil, missingLogical("joining a network")
	}
	return d.open(ctx, cfg, func(n *network) error {
		if n.kind != logical {
			return invalid("network %s: not one that can be joined: bridged, or with a gateway or range of its own", cfg.Name)
		}
		return n.join(ctx, serialization)
	})
}

// open makes a network and has create give it its reference.
func (d *driver) open(ctx context.Context, cfg vmnet.NetworkConfig, create func(*network) error) (vmnet.Network, error) {
	n, err := d.register(cfg)
	if err != nil {
		return nil, err
	}
	if err := d.checkUplink(ctx, n.cfg); err != nil {
		d.forget(n)
		return nil, err
	}
	if err := create(n); err != nil {
		d.forget(n)
		return nil, err
	}
	return n, nil
}

// kind decides how cfg is made. Logical networks have no bridged mode, their
// gateway is the first address, and the range of their DHCP server cannot be
// chosen; everything else is left to the older calls.
func (d *driver) kind(cfg vmnet.NetworkConfig) kind {
	first := !cfg.Gateway.IsValid() || !cfg.Subnet.IsValid() || cfg.Gateway == vmnet.FirstAddr(cfg.Subnet)
	switch {
	case cfg.Mode == vmnet.Bridged || cfg.RangeEnd.IsValid():
		return classic
	case first && d.api.modern() && !d.cfg.Classic:
		return logical
	case cfg.Mode == vmnet.Host && (cfg.Subnet.IsValid() || cfg.Layer2) &&
		supports("", d.api.keyNetID, d.api.keyHostIP, d.api.keyHostMask) == nil:
		return classicH
	}
	return classic
}

func missingLogical(feature string) error {
	return &UnsupportedError{Feature: feature, Symbol: callCreate, Since: "26.0"}
}

// register completes cfg and notes the network, unless it would be on one bridge
// with another that it must not meet.
func (d *driver) register(cfg vmnet.NetworkConfig) (*network, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.chooseLocked(&cfg); err != nil {
		return nil, err
	}
	k := d.kind(cfg)
	cfg, err := complete(cfg, k)
	if err != nil {
		return nil, err
	}
	if _, ok := d.cfg.Options[cfg.Name]; ok && k != logical {
		return nil, missingLogical("options of network " + cfg.Name)
	}
	n := newNetwork(d, cfg, k)
	for o := range d.networks {
		if err := n.conflict(o); err != nil {
			return nil, err
		}
	}
	d.networks[n] = struct{}{}
	return n, nil
}

// conflict returns why n and o cannot be open at once. The framework lets one
// subnet serve one mode at a time. Segments of 64 KiB are off for all of a bridge
// as soon as one interface has none (vmnet-helper, docs/performance.md).
func (n *network) conflict(o *network) error {
	a, b := n.cfg, o.cfg
	if a.Mode != vmnet.Bridged && b.Mode != vmnet.Bridged && overlap(a.Subnet, o.Info().Subnet) {
		return invalid("subnet %s: network %s has %s", a.Subnet, b.Name, o.Info().Subnet)
	}
	bridge := a.Mode == b.Mode && (a.Mode == vmnet.Bridged && a.Uplink == b.Uplink ||
		n.kind == classic && o.kind == classic && !a.Subnet.IsValid() && !b.Subnet.IsValid())
	if bridge && a.Offload != b.Offload {
		return invalid("offload %t: network %s on the same bridge has offload %t: one interface without it turns it off for all", a.Offload, b.Name, b.Offload)
	}
	return nil
}

// chooseLocked gives a network that asks for none a subnet which overlaps none of
// the host's or of this driver's: with the older calls all networks of a mode
// would be one otherwise. A logical network gets one from the system.
func (d *driver) chooseLocked(cfg *vmnet.NetworkConfig) error {
	if cfg.Subnet.IsValid() || cfg.Gateway.IsValid() || cfg.RangeEnd.IsValid() ||
		cfg.Layer2 || cfg.Mode == vmnet.Bridged || d.kind(*cfg) == logical {
		return nil
	}
	used, err := hostSubnets()
	if err != nil {
		return err
	}
	for o := range d.networks {
		used = append(used, o.Info().Subnet)
	}
	p, ok := firstFree(used)
	if !ok {
		return invalid("subnet: none of %s to %s is free: configure one", firstSubnet, lastSubnet)
	}
	cfg.Subnet = p
	return nil
}

func (d *driver) forget(n *network) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.networks, n)
}

// acquire takes one of the interfaces that there may be.
func (d *driver) acquire() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.interfaces >= d.cfg.MaxInterfaces {
		return fmt.Errorf("%d interfaces: the framework allows no more: %w", d.interfaces, vmnet.ErrLimit)
	}
	d.interfaces++
	return nil
}

func (d *driver) yield() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.interfaces--
}

// checkUplink refuses an uplink that the system would refuse with a bare 1001.
func (d *driver) checkUplink(ctx context.Context, cfg vmnet.NetworkConfig) error {
	if cfg.Mode != vmnet.Bridged || d.api.copyInterfaces == 0 {
		return nil
	}
	names, err := d.BridgeableInterfaces(ctx)
	if err != nil {
		return err
	}
	if len(names) != 0 && !slices.Contains(names, cfg.Uplink) {
		return invalid("uplink %q: want one of %q", cfg.Uplink, names)
	}
	return nil
}

// BridgeableInterfaces implements vmnet.BridgeLister. It needs no privilege.
func (d *driver) BridgeableInterfaces(ctx context.Context) ([]string, error) {
	if d.api.copyInterfaces == 0 {
		return nil, &UnsupportedError{Feature: "list of bridgeable interfaces", Symbol: callList, Since: "10.15"}
	}
	type answer struct {
		names []string
		ok    bool
	}
	v, err := do(ctx, &d.guard, callList, d.cfg.StartTimeout, func() answer {
		list, _, _ := purego.SyscallN(d.api.copyInterfaces)
		if list == 0 {
			return answer{}
		}
		defer purego.SyscallN(d.api.xpcRelease, list)
		return answer{d.api.strings(list), true}
	}, nil)
	if err != nil {
		return nil, err
	}
	if !v.ok {
		return nil, &StatusError{Call: callList, Code: vmnet.Failure, Hint: "no list"}
	}
	return v.names, nil
}
