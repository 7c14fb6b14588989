package netstack

import (
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// protocolOf returns the IP version of a.
func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

// networkOf returns base with the IP version of a, as package net names networks.
func networkOf(base string, a netip.Addr) string {
	if a.Is4() {
		return base + "4"
	}
	return base + "6"
}

// gatewayFor returns the gateway's address of the IP version of a.
func (g *gateway) gatewayFor(a netip.Addr) netip.Addr {
	if a.Is4() {
		return g.info.Gateway
	}
	return g.policy.six.gateway
}

// isGateway reports whether a is where the gateway itself is spoken to, and not
// the host behind it.
func (g *gateway) isGateway(a netip.Addr) bool {
	return a == g.info.Gateway || a == g.policy.six.gateway || a == g.policy.six.link
}

// hostAddr returns where on the host a guest's destination is.
func (g *gateway) hostAddr(dst netip.Addr) netip.Addr {
	switch dst {
	case g.info.HostLoopbackAddr:
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case g.info.HostLoopbackAddr6:
		return netip.IPv6Loopback()
	}
	return dst
}

// route returns the way of packets from one address to a guest's, to be released
// by the caller, or nil when the gateway closes or the guest is on no subnet.
func (g *gateway) route(from, guest netip.Addr) *stack.Route {
	r, err := g.stack.FindRoute(nicID, fromAddr(from), fromAddr(guest), protocolOf(guest), false)
	if err != nil {
		return nil
	}
	return r
}

func toAddr(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return addr
}

func fromAddr(a netip.Addr) tcpip.Address {
	if a.Is4() {
		return tcpip.AddrFrom4(a.As4())
	}
	return tcpip.AddrFrom16(a.As16())
}

func linkAddress(mac net.HardwareAddr) tcpip.LinkAddress { return tcpip.LinkAddress(mac) }
