package main

import (
	"errors"
	"fmt"
	"net"
	"slices"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink"
)

// hostDrift lists what differs between the host-side interfaces of the result (a
// tap, a bridge) and the host. Those that the shim does not name are other
// plugins' business. It asks the host, not the shim: whoever deletes a bridge
// does not tell the shim.
func hostDrift(a shim.Attachment, prev *types100.Result) (drift []string) {
	for _, i := range prev.Interfaces {
		if i.Sandbox != "" || !slices.Contains(a.HostInterfaces, i.Name) {
			continue
		}
		link, err := netlink.LinkByName(i.Name)
		if gone := (netlink.LinkNotFoundError{}); errors.As(err, &gone) {
			drift = append(drift, fmt.Sprintf("interface %q: is not on the host any more", i.Name))
			continue
		}
		if errors.Is(err, errors.ErrUnsupported) {
			return drift // no way to look on this system
		}
		if err != nil {
			drift = append(drift, fmt.Sprintf("interface %q: %v", i.Name, err))
			continue
		}
		at := link.Attrs()
		if mac, err := net.ParseMAC(i.Mac); i.Mac != "" && (err != nil || mac.String() != at.HardwareAddr.String()) {
			drift = append(drift, fmt.Sprintf("interface %q: result has mac %q, the host has %q", i.Name, i.Mac, at.HardwareAddr))
		}
		if i.Mtu != 0 && i.Mtu != at.MTU {
			drift = append(drift, fmt.Sprintf("interface %q: result has mtu %d, the host has %d", i.Name, i.Mtu, at.MTU))
		}
	}
	return drift
}
