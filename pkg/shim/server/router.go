package server

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/dhcp"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// findRouter looks for the host's end of the attachment's network. It needs one
// only where the guest gets an IPv6 address.
func findRouter(ctx context.Context, a *attachment) (vmnet.Router, error) {
	f, ok := a.net.Network.(vmnet.RouterFinder)
	if !ok {
		mac := vmnet.GatewayMAC(a.rec.Network)
		return vmnet.Router{MAC: mac, LinkLocal: dhcp.LinkLocal(mac), Addr6: gateway6(a.rec.Granted)}, nil
	}
	return f.Router(ctx)
}

// gateway6 is what the guest is told of its IPv6 gateway, zero for none.
func (a *attachment) gateway6() netip.Addr {
	g := a.rec.Granted
	switch {
	case g.IPAM == shim.IPAMStatic:
		return a.rec.Request.Gateway6
	case a.router.Addr6.IsValid():
		return a.router.Addr6
	}
	return gateway6(g)
}

// Limits of the search for a router that the system has not made yet.
const (
	routerTries = 30
	routerPause = time.Second
)

// A routerStage answers DHCPv6 and router solicitations from the first moment, and
// names the router from the moment when it is there. Its methods are called from
// one goroutine at a time, as relay.Stage says.
type routerStage struct {
	*dhcp.ResponderV6
	cfg   dhcp.ConfigV6
	find  func(context.Context) (vmnet.Router, error)
	tries int       // left; 0: the router is known, or not looked for any more
	next  time.Time // of the next try
}

// newRouterStage makes the stage of a guest whose network may have a router.
func newRouterStage(a *attachment, cfg dhcp.ConfigV6) (relay.Stage, error) {
	s := &routerStage{cfg: cfg, tries: routerTries}
	s.find = func(ctx context.Context) (vmnet.Router, error) { return findRouter(ctx, a) }
	s.cfg.Router = slices.ContainsFunc(a.routes(), func(r shim.Route) bool { return r.Dst.Addr().Is6() && r.Dst.Bits() == 0 })
	if a.router.MAC != nil {
		s.found(a.router)
		var err error
		s.ResponderV6, err = dhcp.NewV6(s.cfg)
		return s.ResponderV6, err
	}
	var err error
	s.ResponderV6, err = dhcp.NewV6(cfg)
	return s, err
}

// found puts the router into the configuration.
func (s *routerStage) found(r vmnet.Router) { s.cfg.ServerMAC, s.cfg.Server = r.MAC, r.LinkLocal }

// FromGuest implements relay.Stage. A guest that asks for a router has one looked
// for, at most once a second and thirty times.
func (s *routerStage) FromGuest(frame []byte, reply func(frame []byte)) (relay.Verdict, relay.Reason) {
	if s.tries > 0 && len(frame) > 13 && frame[12] == 0x86 && frame[13] == 0xdd {
		if now := time.Now(); !now.Before(s.next) {
			s.tries, s.next = s.tries-1, now.Add(routerPause)
			s.look()
		}
	}
	return s.ResponderV6.FromGuest(frame, reply)
}

// look looks for the router; found, the next sign of life of the guest is answered
// with an advertisement that names it.
func (s *routerStage) look() {
	ctx, cancel := context.WithTimeout(context.Background(), routerPause)
	defer cancel()
	r, err := s.find(ctx)
	if err != nil {
		return
	}
	s.found(r)
	if s.Update(s.cfg) == nil {
		s.tries = 0
	}
}
