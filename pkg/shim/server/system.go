package server

import (
	"fmt"
	"net/netip"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// tellsAddresses reports whether the guests of a network learn their addresses from
// the shim, if they have any.
func tellsAddresses(n shim.NetworkSpec) bool {
	return n.IPAM != shim.IPAMNone && n.IPAM != shim.IPAMSystem
}

// normalizeSystem checks a network whose guests get their addresses from the
// system's DHCP server.
func normalizeSystem(n *shim.NetworkSpec) error {
	end := n.RangeEnd
	switch {
	case n.IPAM != shim.IPAMSystem && end.IsValid():
		return shim.Invalidf("network.rangeEnd", end.String(), "want none, or network.ipam %q", shim.IPAMSystem)
	case n.IPAM != shim.IPAMSystem:
		return nil
	case n.Driver != shim.DriverAuto && n.Driver != shim.DriverVmnet:
		return unsupported("network.ipam", n.IPAM, fmt.Sprintf("driver %s has no DHCP server of the system's, want network.driver %q", n.Driver, shim.DriverVmnet))
	case n.Mode == vmnet.Bridged:
		return shim.Invalidf("network.ipam", n.IPAM, "mode bridged has the LAN's DHCP server, want %q", shim.IPAMNone)
	case end.IsValid() && !n.Subnet.IsValid():
		return shim.Invalidf("network.rangeEnd", end.String(), "want network.subnet with it")
	case end.IsValid() && (!n.Gateway.Less(end) || !end.Is4() || vmnet.LastAddr(n.Subnet).Less(end)):
		return shim.Invalidf("network.rangeEnd", end.String(), "want an address after the gateway %s, up to %s", n.Gateway, vmnet.LastAddr(n.Subnet))
	}
	return nil
}

// rangeEndOf is the last address that the system's DHCP server may give, zero where
// it is to give none.
func rangeEndOf(n shim.NetworkSpec) netip.Addr {
	if n.IPAM != shim.IPAMSystem || n.RangeEnd.IsValid() {
		return n.RangeEnd
	}
	return vmnet.LastAddr(n.Subnet)
}
