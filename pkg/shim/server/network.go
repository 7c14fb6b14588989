package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"runtime"
	"slices"

	"github.com/vmnet-cni/vmnet/internal/names"
	"github.com/vmnet-cni/vmnet/pkg/guard"
	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A network is known by its name as long as somebody uses it.
//
//	closed ──► open: the first user, holding lock
//	open ──► closed: the last user leaves, holding lock
type network struct {
	name string
	lock ctxLock // held while opening and closing

	// The rest is guarded by Server.mu. open is changed holding lock too, so
	// that it stays as it is for whoever holds either.
	users int
	open  *openNetwork
	macs  map[string]ipam.Key     // who has which MAC
	addrs map[netip.Addr]ipam.Key // who was given which address elsewhere
}

// An openNetwork is what the driver made. It does not change.
type openNetwork struct {
	vmnet.Network
	asked   shim.NetworkSpec
	granted shim.NetworkSpec
	info    vmnet.NetworkInfo
	owner   uint32
	claims  *guard.Claims // the addresses that guests made themselves
	names   *names.Table  // of a network whose gateway knows no names; nil: none, or it is a vmnet.Namer
}

// namer is who knows the names of the network's guests, or nil.
func (o *openNetwork) namer() vmnet.Namer {
	if n, ok := o.Network.(vmnet.Namer); ok {
		return n
	}
	if o.names != nil {
		return tableNamer{o.names}
	}
	return nil
}

// pool is where the network's IPv4 addresses come from.
func (o *openNetwork) pool() ipam.Pool { return pool4(o.granted, o.info.RangeEnd) }

// acquire returns the network that asked describes, opened if nobody uses it
// yet. granted holds the choices of an earlier shim, or is nil. leave is Server.leave.
func (s *Server) acquire(ctx context.Context, asked shim.NetworkSpec, granted *shim.NetworkSpec, owner uint32) (n *network, leave func(ctx context.Context, stays bool) error, err error) {
	if n, err = s.enter(asked.Name); err != nil {
		return nil, nil, err
	}
	leave = func(ctx context.Context, stays bool) error { return s.leave(ctx, n, stays) }
	if err := n.lock.lock(ctx); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("network %s is being opened: %w", n.name, err), leave(context.WithoutCancel(ctx), false))
	}
	err = s.openLocked(ctx, n, asked, granted, owner)
	n.lock.unlock()
	if err != nil {
		return nil, nil, errors.Join(err, leave(context.WithoutCancel(ctx), false))
	}
	return n, leave, nil
}

// enter counts a user of the network, which it makes if need be.
func (s *Server) enter(name string) (*network, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nets[name]
	if n == nil {
		if len(s.nets) >= s.cfg.Limits.Networks {
			return nil, shim.Errorf(shim.CodeExhausted, "network %s: this shim has %d networks, its limit", name, len(s.nets))
		}
		n = &network{name: name, lock: newCtxLock(), macs: map[string]ipam.Key{}, addrs: map[netip.Addr]ipam.Key{}}
		s.nets[name] = n
	}
	n.users++
	return n, nil
}

// leave takes a user away; the last one closes the network. stays has it leave in the
// system what works without this process.
func (s *Server) leave(ctx context.Context, n *network, stays bool) error {
	if err := n.lock.lock(ctx); err != nil {
		return err
	}
	defer n.lock.unlock()
	s.mu.Lock()
	n.users--
	var closing *openNetwork
	if n.users == 0 {
		closing, n.open = n.open, nil
		delete(s.nets, n.name)
	}
	s.mu.Unlock()
	if closing == nil {
		return nil
	}
	s.cfg.Log.WithField("network", n.name).Info("network closed")
	s.tell(ipam.Key{Network: n.name}, s.uid, shim.EventNetworkGone)
	if l, ok := closing.Network.(vmnet.Leaver); ok && stays {
		return l.Leave()
	}
	return closing.Close()
}

// openLocked opens n, or checks that asked fits what is open. The caller holds
// n.lock.
func (s *Server) openLocked(ctx context.Context, n *network, asked shim.NetworkSpec, granted *shim.NetworkSpec, owner uint32) error {
	if o := n.open; o != nil {
		return admitTo(o, asked, granted, owner)
	}
	if rec := s.kept(n.name); rec != nil && granted != nil {
		// What comes back was opened once as its first attachment asked; in which
		// order the attachments come back must not change that.
		asked, owner = rec.Asked, rec.Owner
	}
	want, err := s.choose(ctx, asked, granted)
	if err != nil {
		return err
	}
	o, err := s.openDriver(ctx, asked, want)
	if err != nil {
		s.forgetChoice(want)
		return err
	}
	o.owner = owner
	if err := s.keepChoice(ctx, o); err != nil {
		return errors.Join(err, o.Close())
	}
	s.mu.Lock()
	n.open = o
	s.mu.Unlock()
	s.cfg.Log.WithField("network", n.name).WithField("driver", o.granted.Driver).
		WithField("subnet", subnetsText(o.granted)).Info("network opened")
	s.tell(ipam.Key{Network: n.name}, s.uid, shim.EventNetwork, "driver", o.granted.Driver, "subnet", subnetsText(o.granted))
	return nil
}

// admitTo refuses an attachment that an open network is not for.
func admitTo(o *openNetwork, asked shim.NetworkSpec, granted *shim.NetworkSpec, owner uint32) error {
	if owner != 0 && o.owner != owner {
		return shim.Errorf(shim.CodeDenied, "network %s: belongs to another user, choose another name", o.granted.Name)
	}
	if granted != nil && reflect.DeepEqual(*granted, o.granted) {
		return nil // it comes back to where it was
	}
	return compareSpecs(o.granted.Name, asked, o)
}

// openDriver opens the network with the driver that was asked for.
func (s *Server) openDriver(ctx context.Context, asked, want shim.NetworkSpec) (*openNetwork, error) {
	var tried error
	for _, name := range s.candidates(want.Driver, want.IPAM) {
		d := s.cfg.Drivers[name]
		if d == nil {
			return nil, &shim.Error{Code: shim.CodeUnsupported, Key: "network.driver", Value: name,
				Message: fmt.Sprintf("network.driver %q: this shim has %q", name, s.driverNames())}
		}
		nw, fits, err := openWith(ctx, name, d, asked, want)
		if err == nil {
			return opened(nw, name, asked, fits)
		}
		tried = errors.Join(tried, err)
		if !errors.Is(err, vmnet.ErrPermission) && !errors.Is(err, errors.ErrUnsupported) {
			break
		}
	}
	return nil, fmt.Errorf("network %s: %w", want.Name, tried)
}

func configOf(n shim.NetworkSpec) vmnet.NetworkConfig {
	return vmnet.NetworkConfig{
		Name: n.Name, Mode: n.Mode, Subnet: n.Subnet, Gateway: n.Gateway, Subnet6: n.Subnet6,
		RangeEnd: rangeEndOf(n), Uplink: n.Uplink, MTU: n.MTU, Isolated: n.Isolated, Offload: n.Offload,
		Layer2: n.IPAM == shim.IPAMNone, Domain: n.DNS.Domain, HostLoopback: n.HostLoopback,
		Resolvers: resolversOf(n),
	}
}

// candidates are the drivers to try for a name. DriverAuto is the framework
// where it is the system's own, then netstack. ipam is NetworkSpec.IPAM: only the
// framework has a DHCP server of the system.
func (s *Server) candidates(name, ipam string) []string {
	if name != shim.DriverAuto {
		return []string{name}
	}
	if ipam == shim.IPAMSystem {
		return []string{shim.DriverVmnet}
	}
	if runtime.GOOS == "darwin" && s.cfg.Drivers[shim.DriverVmnet] != nil {
		return []string{shim.DriverVmnet, shim.DriverNetstack}
	}
	return []string{shim.DriverNetstack}
}

func (s *Server) driverNames() []string {
	var names []string
	for name := range s.cfg.Drivers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// opened notes what was granted. A wish that the driver left out is an error:
// nothing is ignored.
func opened(nw vmnet.Network, driver string, asked, want shim.NetworkSpec) (*openNetwork, error) {
	info := nw.Info()
	g := want
	g.Driver = driver
	g.MTU = info.MTU
	if info.Subnet.IsValid() && want.IPv4 != shim.IPNone { // a system may have IPv4 all the same
		g.Subnet, g.Gateway = info.Subnet, info.Gateway
	}
	if want.Offload && !info.Offload {
		err := &shim.Error{Code: shim.CodeUnsupported, Key: "network.offload", Value: "true",
			Message: fmt.Sprintf("network.offload true: driver %s does not have it", driver)}
		return nil, errors.Join(err, nw.Close())
	}
	o := &openNetwork{Network: nw, asked: asked, granted: g, info: info, claims: claimsOf(g)}
	if _, ok := nw.(vmnet.Namer); !ok {
		o.makeNames()
	}
	return o, nil
}
