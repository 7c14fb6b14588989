package tap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/vishvananda/netlink"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// state is what the driver knows of the system.
type state struct {
	making sync.RWMutex // held for writing by Sweep, for reading while links are made or taken up

	mu    sync.Mutex // guards all following
	links map[string]struct{}
}

// use notes links that are in use, or no longer; Sweep leaves them alone.
func (s *state) use(name string, inUse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links == nil {
		s.links = map[string]struct{}{}
	}
	if delete(s.links, name); inUse {
		s.links[name] = struct{}{}
	}
}

func (s *state) uses(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.links[name]
	return ok
}

// A network is a bridge, or an uplink whose macvtap interfaces see each other.
type network struct {
	driver *Driver
	info   vmnet.NetworkInfo

	bridge     int    // index of the bridge; 0 with macvtap
	bridgeName string // of our own bridge; "" for one of the user's, and with macvtap
	uplink     *uplink

	dns *forwarder // nil: none

	starts sync.WaitGroup // of Start, each begun while not closed

	mu      sync.Mutex // guards all following
	closed  bool
	devices map[string]*device // by the name of their link

	closeOnce sync.Once
	closeErr  error
}

var (
	_ vmnet.Network = (*network)(nil)
	_ vmnet.Namer   = (*network)(nil)
	_ vmnet.Leaver  = (*network)(nil)
)

func (d *Driver) open(ctx context.Context, info vmnet.NetworkInfo) (*network, error) {
	d.state.making.RLock()
	defer d.state.making.RUnlock()
	n := &network{driver: d, info: info, devices: map[string]*device{}}
	name := d.names.bridge(info.Name)
	d.state.use(name, true)
	err := n.make(ctx)
	if err == nil {
		return n, nil
	}
	return nil, errors.Join(fmt.Errorf("network %s: %w", info.Name, err), n.unmake())
}

// make makes what the network is of.
func (n *network) make(ctx context.Context) error {
	if n.info.Mode == vmnet.Bridged {
		if done, err := n.findUplink(); done || err != nil {
			return err
		}
	}
	if err := n.makeBridge(); err != nil {
		return err
	}
	n.info.HostInterfaces = []string{n.bridgeName}
	if err := errors.Join(ctx.Err(), n.startBridge()); err != nil {
		return err
	}
	if n.info.Mode == vmnet.Bridged {
		return n.enslave()
	}
	if n.info.Layer2 {
		return nil
	}
	if err := n.startForwarding(); err != nil {
		return err
	}
	if err := n.setFirewall(); err != nil {
		return err
	}
	return n.startDNS()
}

// unmake takes back what make did.
func (n *network) unmake() error {
	err := errors.Join(n.stopDNS(), n.release())
	name := n.driver.names.bridge(n.info.Name)
	if n.bridgeName != "" {
		err = errors.Join(err, n.driver.removeOurs(n.bridgeName))
	}
	if n.bridgeName != "" && n.info.Mode != vmnet.Bridged && !n.info.Layer2 {
		err = errors.Join(err, deleteTables(n.driver.names.table(name)))
	}
	n.driver.state.use(name, false)
	return err
}

// Info implements vmnet.Network.
func (n *network) Info() vmnet.NetworkInfo { return n.info }

// Start implements vmnet.Network. A MAC that another device of the network has,
// or the gateway's, is refused with vmnet.InvalidArgument.
func (n *network) Start(ctx context.Context, cfg vmnet.Config) (vmnet.Device, error) {
	files := cfg.Files
	var d *device
	err := n.begin()
	if err == nil {
		defer n.starts.Done()
		d, err = n.start(ctx, &cfg)
	}
	for name, f := range files {
		if err != nil || name != fileTap || f != d.file {
			closeFile(f)
		}
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

func closeFile(f *os.File) {
	if f != nil {
		_ = f.Close() // nothing is lost with a descriptor that nobody wants
	}
}

// begin counts a Start, which calls starts.Done: Close waits for it and finds its
// device whole, or none.
func (n *network) begin() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return vmnet.ErrClosed
	}
	n.starts.Add(1)
	return nil
}

func (n *network) start(ctx context.Context, cfg *vmnet.Config) (*device, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cfg.UUID == uuid.Nil {
		cfg.UUID = uuid.New()
	}
	if cfg.MAC == nil {
		cfg.MAC = vmnet.MACFromUUID(cfg.UUID)
	}
	if !n.takes(cfg.MAC) {
		return nil, fmt.Errorf("mac %s: want 6 octets, unicast, not the gateway's: %w", cfg.MAC, vmnet.InvalidArgument)
	}
	name := n.driver.names.port(n.info.Name, cfg.UUID.String())
	d := newDevice(n, name, cfg)
	if err := n.add(d); err != nil {
		return nil, err
	}
	n.driver.state.making.RLock()
	defer n.driver.state.making.RUnlock()
	if err := d.open(ctx, cfg); err != nil {
		if !d.made { // whoever left it may try again: it may be all that a guest has
			return nil, errors.Join(err, d.leave())
		}
		return nil, errors.Join(err, d.unmake())
	}
	return d, nil
}

func (n *network) takes(mac net.HardwareAddr) bool {
	return len(mac) == 6 && mac[0]&1 == 0 && mac.String() != "00:00:00:00:00:00" &&
		(n.info.Mode == vmnet.Bridged || mac.String() != vmnet.GatewayMAC(n.info.Name).String())
}

// add counts d among the network's devices.
func (n *network) add(d *device) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, other := range n.devices {
		if other.info.MAC.String() == d.info.MAC.String() {
			return fmt.Errorf("mac %s: another interface of the network has it: %w", d.info.MAC, vmnet.InvalidArgument)
		}
	}
	if n.devices[d.name] != nil {
		return fmt.Errorf("uuid %s: another interface of the network has it: %w", d.info.UUID, vmnet.InvalidArgument)
	}
	n.devices[d.name] = d
	n.driver.state.use(d.name, true)
	return nil
}

// forget takes d out again.
func (n *network) forget(d *device) {
	n.mu.Lock()
	delete(n.devices, d.name)
	n.mu.Unlock()
	n.driver.state.use(d.name, false)
}

// Close implements vmnet.Network.
func (n *network) Close() error {
	return n.end((*device).Close, n.unmake)
}

// Leave implements vmnet.Leaver: bridge, addresses and rules stay.
func (n *network) Leave() error {
	return n.end((*device).Leave, func() error {
		err := n.stopDNS()
		n.driver.state.use(n.driver.names.bridge(n.info.Name), false)
		return err
	})
}

// end ends the devices in one way, and then the network.
func (n *network) end(device func(*device) error, rest func() error) error {
	n.closeOnce.Do(func() {
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		n.starts.Wait()
		n.mu.Lock()
		devices := slices.Collect(maps.Values(n.devices))
		n.mu.Unlock()
		var errs []error
		for _, d := range devices {
			errs = append(errs, device(d))
		}
		n.closeErr = errors.Join(append(errs, rest())...)
	})
	return n.closeErr
}

// link returns the device's link.
func (n *network) link(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	return l, opErr("look for", name, err)
}
