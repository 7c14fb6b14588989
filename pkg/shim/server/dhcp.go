package server

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vmnet-cni/vmnet/pkg/dhcp"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// stagesOf returns what looks at the guest's frames in the relay: the guard, then
// the DHCP servers, unless addresses are the guest's own business. Frames of a
// guest that has the tap do not come by.
func stagesOf(a *attachment) (stages []relay.Stage, err error) {
	if a.direct() {
		return nil, nil
	}
	answers := answersOf(a)
	if a.net.names != nil {
		answers = append(answers, stageNames)
	}
	if !a.rec.Addr.IsValid() && !a.rec.Addr6.IsValid() {
		answers = append(answers, stageSeen)
	}
	return makeStages(a, append([]stageMaker{guardStage}, answers...))
}

// A stageMaker makes a stage, or nil when there is nothing for it to do.
type stageMaker func(*attachment, net.HardwareAddr) (relay.Stage, error)

// answersOf are the makers of the DHCP servers that the guest needs.
func answersOf(a *attachment) (list []stageMaker) {
	if a.rec.Addr.IsValid() {
		list = append(list, stage4)
	}
	if a.rec.Addr6.IsValid() {
		list = append(list, stage6)
	}
	return list
}

func makeStages(a *attachment, makers []stageMaker) (stages []relay.Stage, err error) {
	mac, err := net.ParseMAC(a.rec.MAC)
	if err != nil {
		return nil, err
	}
	for _, make := range makers {
		stage, err := make(a, mac)
		if err != nil {
			return nil, fmt.Errorf("attachment %s: %w", a.rec.Key, err)
		}
		if stage != nil {
			stages = append(stages, stage)
		}
	}
	return stages, nil
}

// stage4 is what answers the guest's DHCPv4.
func stage4(a *attachment, mac net.HardwareAddr) (relay.Stage, error) {
	g, dns := a.rec.Granted, a.dns()
	cfg := dhcp.Config{
		GuestMAC: mac, ServerMAC: vmnet.GatewayMAC(g.Name), Addr: a.rec.Addr, ServerID: g.Gateway,
		Domain: dns.Domain, Search: dns.Search, Hostname: a.rec.Request.Hostname, MTU: a.ifc.MTU(),
	}
	if !cfg.ServerID.IsValid() {
		cfg.ServerID = a.rec.gateway()
	}
	for _, ns := range dns.Nameservers {
		if addr, err := netip.ParseAddr(ns); err == nil && addr.Is4() {
			cfg.DNS = append(cfg.DNS, addr)
		}
	}
	for _, r := range a.routes() {
		switch {
		case !r.Dst.Addr().Is4():
		case r.Dst.Bits() == 0:
			cfg.Gateway = r.GW
		default:
			cfg.Routes = append(cfg.Routes, dhcp.Route{Dst: r.Dst, Gateway: r.GW})
		}
	}
	return dhcp.New(cfg)
}

// dnsOf is what guests of a network are told of name servers: the gateway, when
// nothing else was asked for and there is one.
func dnsOf(n shim.NetworkSpec) shim.DNS {
	d := n.DNS
	if len(d.Nameservers) > 0 {
		return d
	}
	for _, a := range []netip.Addr{n.Gateway, gateway6(n)} {
		if a.Is6() && n.Gateway.IsValid() && n.Driver == shim.DriverVmnet {
			continue // that the system's DNS proxy answers there too is told by nobody
		}
		if a.IsValid() {
			d.Nameservers = append(d.Nameservers, a.String())
		}
	}
	return d
}

// dns is what the guest is told: what its own request says, part by part, and
// else what the network says.
func (r *attachmentRecord) dns() shim.DNS {
	d, own := dnsOf(r.Granted), r.Request.DNS
	if len(own.Nameservers) > 0 {
		d.Nameservers = own.Nameservers
	}
	if own.Domain != "" {
		d.Domain = own.Domain
	}
	if len(own.Search) > 0 {
		d.Search = own.Search
	}
	if len(own.Options) > 0 {
		d.Options = own.Options
	}
	return d
}

// resolversOf are the name servers of a network that are not its gateway: those
// to which the gateway forwards. None means the host's.
func resolversOf(n shim.NetworkSpec) []netip.AddrPort {
	var list []netip.AddrPort
	for _, s := range n.DNS.Nameservers {
		if a, err := netip.ParseAddr(s); err == nil && a != n.Gateway && a != gateway6(n) {
			list = append(list, netip.AddrPortFrom(a, 53))
		}
	}
	return list
}
