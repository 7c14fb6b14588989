package vmnet

import "net/netip"

// Guard says what frames of a guest are let through, whoever looks at them: the
// relay, or the kernel where frames do not pass the relay. The zero value lets
// everything through.
type Guard struct {
	// MAC drops frames whose source is not the interface's MAC.
	MAC bool
	// IP drops IPv4, IPv6, ARP and neighbour discovery with a source address that
	// is not one of Addrs, but for what a guest sends before it has one.
	IP bool
	// DHCP drops what DHCP and DHCPv6 servers send.
	DHCP bool
	// RA drops router advertisements and redirects.
	RA bool
	// Addrs are the guest's addresses. Its link-local IPv6 addresses are always
	// its own.
	Addrs []netip.Addr
	// Allow and Deny say what destinations the guest may reach: the longest
	// prefix that contains one decides, Deny where both have it; what no prefix
	// contains is let through if Allow has no prefix of its family. The gateway
	// and the network's own subnets are always reachable.
	Allow, Deny []netip.Prefix
}
