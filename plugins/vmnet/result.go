package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// prevResult returns the result of the plugins before this one, or nil.
func prevResult(c *config) (*types100.Result, error) {
	if c.PrevResult == nil {
		return nil, nil
	}
	err := noNulls(c.PrevResult)
	var res types.Result
	if err == nil {
		res, err = create.Create(c.CNIVersion, c.PrevResult)
	}
	if err != nil {
		return nil, errorf(codeConfig, "prevResult %s: want a result of cniVersion %s: %w", show(c.PrevResult), c.CNIVersion, err)
	}
	prev, err := types100.NewResultFromResult(res)
	if err != nil {
		return nil, errorf(codeConfig, "prevResult: %w", err)
	}
	return prev, nil
}

// noNulls refuses a result with null in its lists, of which the CNI library makes
// pointers that it then follows.
func noNulls(raw []byte) error {
	var lists struct{ Interfaces, IPs, Routes []*json.RawMessage }
	if err := json.Unmarshal(raw, &lists); err != nil {
		return err
	}
	for _, list := range [][]*json.RawMessage{lists.Interfaces, lists.IPs, lists.Routes} {
		if slices.Contains(list, nil) {
			return errors.New("null in a list")
		}
	}
	return nil
}

// findInterface returns the interface of e in res, or nil.
func findInterface(res *types100.Result, e env) *types100.Interface {
	if res == nil {
		return nil
	}
	for _, i := range res.Interfaces {
		if i != nil && i.Name == e.IfName && i.Sandbox == e.NetNS {
			return i
		}
	}
	return nil
}

// buildResult returns prev, or an empty result, with what the shim made added to
// it. Routes of an IPAM plugin stay as it wrote them. DNS of the configuration beats that of the network, and that of the
// runtime beats both.
func buildResult(a shim.Attachment, l *lease, e env, prev *types100.Result, conf, runtime shim.DNS) *types100.Result {
	res := &types100.Result{CNIVersion: types100.ImplementedSpecVersion}
	if prev != nil {
		*res = *prev
		res.CNIVersion = types100.ImplementedSpecVersion
	}
	index := len(res.Interfaces)
	res.Interfaces = append(res.Interfaces, &types100.Interface{
		Name: e.IfName, Mac: a.MAC, Mtu: a.MTU, Sandbox: e.NetNS, SocketPath: a.SocketPath,
	})
	for _, name := range a.HostInterfaces {
		if !slices.ContainsFunc(res.Interfaces, func(i *types100.Interface) bool { return i.Name == name }) {
			res.Interfaces = append(res.Interfaces, &types100.Interface{Name: name})
		}
	}
	for _, ip := range a.IPs {
		res.IPs = append(res.IPs, &types100.IPConfig{
			Interface: types100.Int(index), Address: ipNet(ip.Address, false), Gateway: ipOf(ip.Gateway),
		})
	}
	res.Routes = append(res.Routes, routesOf(a, l)...)
	res.DNS = mergeDNS(res.DNS, a.DNS, conf, runtime)
	return res
}

// routesOf returns the guest's routes: those of an IPAM plugin as it wrote them, or
// the network's.
func routesOf(a shim.Attachment, l *lease) (list []*types.Route) {
	if l != nil {
		return l.routes
	}
	for _, r := range a.Routes {
		list = append(list, &types.Route{Dst: ipNet(r.Dst, true), GW: ipOf(r.GW)})
	}
	return list
}

// mergeDNS lets each later source replace the parts that it sets. What an
// earlier plugin of the chain found stays behind ours; its domain, of which there
// can be one, gives way to one that somebody chose, not to the default in the
// first source.
func mergeDNS(prev types.DNS, sources ...shim.DNS) types.DNS {
	var d types.DNS
	for _, s := range sources {
		if len(s.Nameservers) > 0 {
			d.Nameservers = s.Nameservers
		}
		if s.Domain != "" {
			d.Domain = s.Domain
		}
		if len(s.Search) > 0 {
			d.Search = s.Search
		}
		if len(s.Options) > 0 {
			d.Options = s.Options
		}
	}
	d.Nameservers = union(d.Nameservers, prev.Nameservers)
	d.Search = union(d.Search, prev.Search)
	d.Options = union(d.Options, prev.Options)
	chosen := slices.ContainsFunc(sources[1:], func(s shim.DNS) bool { return s.Domain != "" })
	if prev.Domain != "" && !chosen {
		d.Domain = prev.Domain
	}
	return d
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// ipNet converts p; a network has its host bits cut off.
func ipNet(p netip.Prefix, network bool) net.IPNet {
	if network {
		p = p.Masked()
	}
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// ipOf converts a; the zero Addr becomes nil, which JSON leaves out.
func ipOf(a netip.Addr) net.IP { return a.AsSlice() }
