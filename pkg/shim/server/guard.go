package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/vmnet-cni/vmnet/pkg/dhcp"
	"github.com/vmnet-cni/vmnet/pkg/guard"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// normalizeGuard checks what the guest may send and fills in the rest.
func normalizeGuard(r *shim.AttachRequest) error {
	g := &r.Guard
	known := knowsAddresses(r.Network)
	if g.IP != nil && *g.IP && !known {
		return shim.Invalidf("guard.ip", "true", "want false, or none: mode %s with ipam %q gives no addresses", r.Network.Mode, r.Network.IPAM)
	}
	for _, l := range []struct {
		key  string
		list *[]netip.Prefix
	}{{"guard.allow", &g.Allow}, {"guard.deny", &g.Deny}} {
		if n := len(*l.list); n > shim.MaxGuardPrefixes {
			return shim.Invalidf(l.key, strconv.Itoa(n), "entries, want at most %d", shim.MaxGuardPrefixes)
		}
		for _, p := range *l.list {
			if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
				return shim.Invalidf(l.key, p.String(), "want subnets, as 10.0.0.0/8 or fd00::/8")
			}
		}
		if len(*l.list) == 0 {
			*l.list = nil
		}
	}
	*g = g.Complete(known)
	return nil
}

// knowsAddresses reports whether the shim is told, or decides, what addresses the
// guests of a network have.
func knowsAddresses(n shim.NetworkSpec) bool {
	return n.IPAM == shim.IPAMStatic || n.IPAM == shim.IPAMBuiltin && n.Mode != vmnet.Bridged
}

// guardOf returns what frames of the attachment's guest are let through.
func guardOf(r *attachmentRecord) vmnet.Guard {
	on := func(v *bool) bool { return v != nil && *v }
	g := r.Request.Guard
	w := vmnet.Guard{
		MAC: on(g.MAC), IP: on(g.IP), DHCP: on(g.DHCP), RA: on(g.RA),
		Addrs: r.addrs(), Allow: g.Allow, Deny: g.Deny,
	}
	// With driver vmnet it is the system that advertises the prefix, and guests make
	// addresses of it whatever was asked for.
	if (r.Granted.IPv6 == shim.IPSLAAC || r.Granted.Driver == shim.DriverVmnet) && r.Granted.Subnet6.IsValid() {
		w.Free = []netip.Prefix{r.Granted.Subnet6}
	}
	return w
}

// claimsOf returns the claims of a network, in which the gateway's addresses are
// nobody's.
func claimsOf(g shim.NetworkSpec) *guard.Claims {
	reserved := []netip.Addr{dhcp.LinkLocal(vmnet.GatewayMAC(g.Name))}
	if g.Subnet6.IsValid() {
		reserved = append(reserved, gateway6(g), g.Subnet6.Addr(), vmnet.LastAddr(g.Subnet6))
	}
	return guard.NewClaims(reserved...)
}

// guardStage returns the stage that guards the attachment, or nil when everything
// is let through.
func guardStage(a *attachment, mac net.HardwareAddr) (relay.Stage, error) {
	what := guardOf(&a.rec)
	if !what.MAC && !what.IP && !what.DHCP && !what.RA && len(what.Allow)+len(what.Deny) == 0 {
		return nil, nil
	}
	cfg := guard.Config{MAC: mac, Claims: a.net.claims}
	for _, p := range []netip.Prefix{a.rec.Granted.Subnet, a.rec.Granted.Subnet6} {
		if p.IsValid() {
			cfg.Local = append(cfg.Local, p)
		}
	}
	if a.rec.Addr.IsValid() && a.rec.Granted.Mode == vmnet.Bridged { // the network's own, as its IPAM plugin says
		cfg.Local = append(cfg.Local, a.rec.Addr.Masked())
	}
	for _, gw := range []netip.Addr{a.rec.Granted.Gateway, a.rec.gateway()} {
		if gw.IsValid() {
			cfg.Local = append(cfg.Local, netip.PrefixFrom(gw, gw.BitLen()))
		}
	}
	cfg.Local = slices.Compact(cfg.Local)
	g, err := guard.New(what, cfg)
	if err != nil {
		return nil, fmt.Errorf("attachment %s: %w", a.rec.Key, err)
	}
	a.undo.add("guard", func(context.Context) error { g.Release(); return nil })
	return g, nil
}
