package vmnet

import "net/netip"

// Guard says what frames of a guest are let through, whoever looks at them: the
// relay, or the kernel where frames do not pass the relay. The zero value lets
// everything through. Frames of other protocols than IPv4, IPv6 and ARP are judged
// by MAC only; those with a VLAN tag are dropped when anything but MAC is set,
// since what is behind the tag would go unseen.
type Guard struct {
	// MAC drops frames whose source is not the interface's MAC, and ARP and
	// neighbour discovery that tell another one as the guest's.
	MAC bool
	// IP drops IPv4, IPv6, ARP and neighbour discovery with a source address that
	// is not one of Addrs nor in Free, but for what a guest sends before it has
	// one: from 0.0.0.0 DHCP (UDP 68 to 67), IGMP and ARP probes, from :: router
	// and neighbour solicitations and multicast listener reports. What it says
	// about itself, in ARP's sender and in the target of an advertisement or of
	// duplicate address detection, is a source address as well. A family with no
	// address in Addrs and Free is not checked: nobody knows what is right.
	IP bool
	// DHCP drops what DHCP and DHCPv6 servers send: UDP to port 68 or 546, and
	// from port 67 or 547.
	DHCP bool
	// RA drops router advertisements and redirects: ICMPv6 134 and 137, and their
	// like of IPv4, ICMP 9 and 5.
	RA bool
	// Addrs are the guest's addresses.
	Addrs []netip.Addr
	// Free are the IPv6 prefixes in which guests make addresses by themselves, of
	// which nobody is told (RFC 7217, RFC 8981). An address in one, or a
	// link-local one, is the guest's unless it is known to be somebody else's: the
	// gateway's, another guest's of Addrs or of its MAC, or, where the relay looks,
	// that of a guest that used it first.
	Free []netip.Prefix
	// Allow and Deny say what destinations the guest may reach: the longest
	// prefix that contains one decides, Deny where both have it; what no prefix
	// contains is let through if Allow has no prefix of its family. The gateway
	// and the network's own subnets are always reachable, and so is what these
	// need: IPv4's limited broadcast, link-local IPv6 addresses and groups. Only
	// the outer header counts; with a list, packets that carry a route of their
	// own (IPv4 source routes, IPv6 routing headers with segments left) and IPv6
	// packets to IPv4-mapped addresses are dropped.
	Allow, Deny []netip.Prefix
}
