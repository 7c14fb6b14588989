package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// startForwards takes the host's ports that lead to the guest.
func (s *Server) startForwards(ctx context.Context, a *attachment) error {
	wanted := a.rec.Request.Forwards
	if len(wanted) == 0 {
		return nil
	}
	addrs := guestAddrs(a)
	for _, f := range wanted {
		if !forwardTo(f, addrs).IsValid() {
			return unsupported("forwards", f.String(), "the guest has no address of this IP version to forward to")
		}
	}
	forwarder, err := a.ifc.Forwarder()
	if err != nil {
		return s.forwardError(a, wanted[0], err)
	}
	var done []vmnet.Forward
	a.undo.add("forwards", func(ctx context.Context) error {
		if a.held != nil && a.ifc.FileHolder() != nil && s.outlived() {
			return nil // they end with the interface, and the next shim goes on with their sockets
		}
		var errs []error
		for _, rule := range done {
			errs = append(errs, forwarder.RemoveForward(ctx, rule))
		}
		return errors.Join(errs...)
	})
	for _, f := range wanted {
		rule := ruleOf(f, forwardTo(f, addrs))
		if err := forwarder.AddForward(ctx, rule); err != nil {
			return s.forwardError(a, f, err)
		}
		done = append(done, rule)
	}
	return nil
}

// forwardTo returns to which of the guest's addresses a port of the host leads: to
// that of the IP version of its own, and without one to the first.
func forwardTo(f shim.Forward, guest []netip.Addr) netip.Addr {
	for _, a := range guest {
		if !f.HostIP.IsValid() || f.HostIP.Is4() == a.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

func ruleOf(f shim.Forward, guest netip.Addr) vmnet.Forward {
	rule := vmnet.Forward{
		Protocol: vmnet.TCP,
		External: netip.AddrPortFrom(f.HostIP, f.HostPort),
		Internal: netip.AddrPortFrom(guest, f.ContainerPort),
	}
	if f.Protocol == "udp" {
		rule.Protocol = vmnet.UDP
	}
	return rule
}

// forwardError says why a forward could not be, naming the host's port.
func (s *Server) forwardError(a *attachment, f shim.Forward, err error) error {
	e := &shim.Error{Code: toError(err).Code, Key: "forwards", Value: f.String()}
	why := err.Error()
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		why = fmt.Sprintf("driver %s cannot: %v", a.rec.Granted.Driver, err)
	case errors.Is(err, syscall.EADDRINUSE):
		e.Code, why = shim.CodeConflict, fmt.Sprintf("the port of the host is taken%s: %v", s.forwardedBy(a, f), err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Code, why = shim.CodeInvalid, fmt.Sprintf("the host does not have this address: %v", err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		e.Code, why = shim.CodeDenied, fmt.Sprintf("the shim may not take this port of the host: %v", err)
	}
	e.Message = fmt.Sprintf("forwards %q: %s", e.Value, why)
	return e
}

// forwardedBy names the attachment that has the port, if the user may see it.
func (s *Server) forwardedBy(a *attachment, f shim.Forward) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, other := range s.atts {
		if slices.ContainsFunc(other.rec.Request.Forwards, func(o shim.Forward) bool {
			return o.Protocol == f.Protocol && o.HostPort == f.HostPort &&
				(o.HostIP == f.HostIP || !isOne(o.HostIP) || !isOne(f.HostIP))
		}) {
			return s.byLocked(k, a.rec.Owner)
		}
	}
	return ""
}

// isOne reports whether ip is one address and not all.
func isOne(ip netip.Addr) bool { return ip.IsValid() && !ip.IsUnspecified() }

// setNames names the guest in the DNS of its network, where there is one.
func (s *Server) setNames(a *attachment) error {
	addrs, aliases := guestAddrs(a), a.rec.Request.Aliases
	namer := a.net.namer()
	if namer == nil || len(addrs) == 0 {
		if len(aliases) > 0 {
			return unsupported("aliases", aliases[0], fmt.Sprintf("driver %s answers no DNS for this guest", a.rec.Granted.Driver))
		}
		return nil
	}
	key, names := a.rec.ContainerID+"/"+a.rec.IfName, namesOf(&a.rec)
	if err := namer.SetNames(key, names, addrs); err != nil {
		return fmt.Errorf("attachment %s: %w", a.rec.Key, err)
	}
	a.undo.add("names", func(context.Context) error {
		namer.RemoveNames(key)
		return nil
	})
	for _, n := range names {
		a.names = append(a.names, n+"."+a.net.info.Domain)
	}
	return nil
}

// dns is what the guest is told: where it asks the gateway, also the domain in
// which that knows the guests, so that their plain names work.
func (a *attachment) dns() shim.DNS {
	d := a.rec.dns()
	g := a.rec.Granted
	if a.net == nil || !slices.Contains(d.Nameservers, g.Gateway.String()) && !slices.Contains(d.Nameservers, gateway6(g).String()) && !slices.Contains(d.Nameservers, a.gateway6().String()) {
		return d
	}
	if a.net.namer() == nil {
		return d
	}
	if d.Domain == "" {
		d.Domain = a.net.info.Domain
	}
	if len(d.Search) == 0 {
		d.Search = []string{a.net.info.Domain}
	}
	return d
}
