package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// check compares the attachment with the result of ADD and changes nothing: no
// shim is started. Interfaces, routes and DNS that other plugins added to the
// result are not its business.
func check(c *call) (output, error) {
	prev, err := prevResult(c.conf)
	if err != nil {
		return output{}, err
	}
	if prev == nil {
		return output{}, errorf(codeConfig, "prevResult is missing: CHECK wants the result of ADD")
	}
	ours := findInterface(prev, c.env)
	if ours == nil {
		return output{}, errorf(codeConfig, "prevResult: want an interface %q with sandbox %q", c.env.IfName, c.env.NetNS)
	}
	ns, err := openNamespace(c.env.NetNS) // a socket there is not connected to
	if err != nil {
		return output{}, errorf(codeEnv, "CNI_NETNS %q: %w", c.env.NetNS, err)
	}
	if ns != nil {
		defer ns.Close()
	}
	client, err := c.ensure(false)
	if err != nil {
		return output{}, err
	}
	defer client.Close()
	a, err := client.Attachment(c.ctx, c.conf.Name, c.env.ContainerID, c.env.IfName)
	if err != nil {
		return output{}, err
	}
	drift := compare(a, c.conf.givesAddresses(), prev, ours)
	drift = append(drift, compareWanted(a, c.conf.wanted)...)
	inside, err := c.compareInside(ns, a, prev, ours)
	if err != nil {
		return output{}, err
	}
	drift = append(drift, inside...)
	drift = append(drift, compareGuard(a, c.conf.Guard.Complete(c.conf.givesAddresses()))...)
	if len(drift) > 0 {
		return output{}, errorf(codeDrift, "attachment %s/%s/%s differs from the result of ADD: %s",
			a.Network, a.ContainerID, a.IfName, strings.Join(drift, "; "))
	}
	return output{}, c.ipamRun()
}

// compareInside lists what differs where the guest's own end can be seen: in the
// namespace of a container.
func (c *call) compareInside(ns *os.File, a shim.Attachment, prev *types100.Result, ours *types100.Interface) ([]string, error) {
	switch {
	case ns != nil:
		return checkLink(ns, c.env.IfName, a, prev, ours)
	// Only of a container the result leaves out a socket that there is; of a machine with
	// the tap itself there is none.
	case c.conf.CNIVersion >= "1" && ours.SocketPath == "" && a.SocketPath != "": // versions have one digit before each dot
		return []string{fmt.Sprintf("CNI_NETNS %q: is no network namespace any more", c.env.NetNS)}, nil
	}
	return nil, nil
}

// compare lists what differs between the attachment and the result. Versions
// before 1.0.0 have no mtu and no socketPath in a result. Who is connected is no
// drift: a machine may be off. Where the network gives no addresses, those in the
// result are of other plugins.
func compare(a shim.Attachment, givesAddresses bool, prev *types100.Result, ours *types100.Interface) (drift []string) {
	differs := func(what string, recorded, found any) {
		drift = append(drift, fmt.Sprintf("%s: result has %v, attachment has %v", what, recorded, found))
	}
	// A tuning plugin may have given another MAC or MTU to a link in a namespace;
	// it is what the result says that counts there.
	if mac, err := net.ParseMAC(ours.Mac); !inNamespace(a) && (err != nil || mac.String() != a.MAC) {
		differs("mac", show(ours.Mac), show(a.MAC))
	}
	if ours.Mtu != 0 && ours.Mtu != a.MTU && !inNamespace(a) {
		differs("mtu", ours.Mtu, a.MTU)
	}
	if have, want := addressesOf(a), addressesIn(prev, ours); givesAddresses && !sameAddresses(a, have, want) {
		differs("ips", show(want), show(have))
	}
	for _, r := range a.Routes {
		if !hasRoute(prev, a, r) {
			differs("routes", "none", strings.TrimSuffix(fmt.Sprintf("%s via %s", r.Dst, r.GW), " via invalid IP"))
		}
	}
	if ours.SocketPath != "" && ours.SocketPath != a.SocketPath {
		differs("socketPath", show(ours.SocketPath), show(a.SocketPath))
	}
	if a.Problem != "" {
		drift = append(drift, a.Problem)
	}
	drift = append(drift, hostDrift(a, prev)...)
	for _, path := range []string{a.DgramSocketPath, a.StreamSocketPath} {
		if path == "" {
			continue // frames tap has none
		}
		if err := isSocket(path); err != nil && a.Problem == "" {
			drift = append(drift, err.Error())
		}
	}
	return drift
}

// inNamespace reports whether the guest is the kernel, in a network namespace.
func inNamespace(a shim.Attachment) bool {
	return a.Peer.Via == shim.ViaTap || a.Peer.Via == shim.ViaNetNS
}

// compareWanted lists what the runtime asked for, and says again now, and the
// attachment does not have. Runtimes that say nothing now want nothing compared.
func compareWanted(a shim.Attachment, want wanted) (drift []string) {
	for _, f := range want.Forwards {
		if !slices.ContainsFunc(a.Forwards, func(g shim.Forward) bool { return g.ContainerPort == f.ContainerPort && g.String() == f.String() }) {
			drift = append(drift, fmt.Sprintf("portMappings: %s does not lead to port %d of the guest", f, f.ContainerPort))
		}
	}
	// Bursts are bounded by the shim.
	if w, b := want.Bandwidth, a.Bandwidth; w != (shim.Bandwidth{}) && (w.IngressRate != b.IngressRate || w.EgressRate != b.EgressRate) {
		drift = append(drift, fmt.Sprintf("bandwidth: want %d and %d bit/s, attachment has %d and %d", w.IngressRate, w.EgressRate, b.IngressRate, b.EgressRate))
	}
	return drift
}

// compareGuard lists what differs between the guard of the attachment and that of
// the configuration. A shim from before there were guards tells of none.
func compareGuard(a shim.Attachment, want shim.Guard) []string {
	if a.Guard.MAC == nil || a.Guard.Equal(want) {
		return nil
	}
	return []string{fmt.Sprintf("guard: configuration has %s, attachment has %s", show(want), show(a.Guard))}
}

// An address is one of an interface, with its gateway, as text.
type address struct {
	Address string `json:"address"`
	Gateway string `json:"gateway,omitempty"`
}

func addressesOf(a shim.Attachment) (list []address) {
	for _, ip := range a.IPs {
		x := address{Address: ip.Address.String()}
		if ip.Gateway.IsValid() {
			x.Gateway = ip.Gateway.String()
		}
		list = append(list, x)
	}
	return list
}

// addressesIn returns those that the result gives the interface ours.
func addressesIn(res *types100.Result, ours *types100.Interface) (list []address) {
	for _, ip := range res.IPs {
		if i := ip.Interface; i == nil || *i < 0 || *i >= len(res.Interfaces) || res.Interfaces[*i] != ours {
			continue
		}
		x := address{Address: ip.Address.String()}
		if ip.Gateway != nil {
			x.Gateway = ip.Gateway.String()
		}
		list = append(list, x)
	}
	return list
}

// sameAddresses reports whether the result has every address of the attachment,
// and no other of its subnets: a later plugin of the chain may have added
// addresses of subnets of its own.
func sameAddresses(a shim.Attachment, have, want []address) bool {
	for _, x := range have {
		if !slices.Contains(want, x) {
			return false
		}
	}
	for _, x := range want {
		p, err := netip.ParsePrefix(x.Address)
		foreign := len(a.IPs) > 0 && err == nil && !slices.ContainsFunc(a.IPs, func(ip shim.IP) bool {
			return ip.Address.Masked().Overlaps(p)
		})
		if !foreign && !slices.Contains(have, x) {
			return false
		}
	}
	return true
}

// hasRoute reports whether the result has a route. One without a gateway there
// may use that of an address (specification 1.1.0, section 5).
func hasRoute(res *types100.Result, a shim.Attachment, r shim.Route) bool {
	return slices.ContainsFunc(res.Routes, func(x *types.Route) bool {
		dst, ok := prefixOf(x.Dst)
		gw := addrOf(x.GW)
		viaIP := !gw.IsValid() && slices.ContainsFunc(a.IPs, func(ip shim.IP) bool { return ip.Gateway == r.GW })
		return ok && dst.Masked() == r.Dst && (gw == r.GW || viaIP)
	})
}

func isSocket(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("socket %s: %w", path, errors.Unwrap(err))
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("socket %s: is not a socket any more", path)
	}
	return nil
}
