// Package dhcp answers a guest's DHCPv4, DHCPv6 and router solicitations on the
// way of its frames, from the lease of its attachment, so that the guest gets what
// the CNI result says. [Responder] is for IPv4, [ResponderV6] for IPv6.
//
// A [Responder] is a stage of the relay. It belongs to one attachment and has one
// address to give; whoever asks on that attachment gets it, whatever hardware
// address or client identifier the message bears. There is no state to lose: the
// lease is the attachment's and lasts until CNI's DEL. What goes out is a lease
// of an hour ([DefaultLeaseTime]), to be renewed at half of it, so that changes
// reach the guest ([Responder.Update]).
//
// # What is taken
//
// Every IPv4 UDP frame to port 67 without VLAN tag is taken here and never
// reaches the network, also one for another server: there is no other. Fragments
// and VLAN-tagged frames pass; they are not DHCP on this link. Lengths and the
// IPv4 header checksum are checked. The UDP checksum is not: it may be 0 (RFC
// 768), and a guest that leaves checksums to the device sends a partial one.
//
// # What is answered
//
//	DISCOVER   OFFER; ACK when rapid commit is asked for (RFC 4039)
//	REQUEST    by RFC 2131, section 4.3.2: ACK for the address of the lease, NAK
//	           for another; silence for one to another server
//	INFORM     ACK without address and lease time
//	DECLINE    counted, Config.OnDecline is called, no answer. The next DISCOVER
//	           is offered the same address: CNI's result named it, so another
//	           would be wrong; who runs the network must find the double.
//	RELEASE    counted, no effect: the lease is CNI's to end
//
// The relay agent address (giaddr) is ignored. Replies go to the broadcast
// address or to the client as RFC 2131, section 4.1, says, at least 300 bytes
// long (RFC 1542, section 2.1). A client identifier is echoed (RFC 6842).
//
// # Which options are sent
//
// Always, where there is a value: subnet mask (1), router (3), name servers (6),
// lease time, T1 and T2 (51, 58, 59), server identifier (54), and the MTU (26)
// when it is not 1500. When the client's parameter request list asks, or it has
// none: host name (12), domain (15), MTU, broadcast address (28), domain search
// (119, RFC 3397), classless routes (121, RFC 3442; as 249 for Windows clients
// that ask for nothing else). The routes contain the default route, because a
// client that reads 121 does not read 3.
//
// A reply fits an IP packet of 576 bytes, or of the client's maximum message size
// (57), or of the MTU, whichever of the latter is less. What does not fit is left
// out, in this order, until the rest does: 119, 249, 28, 12, 15, 26, 121, 59, 58,
// 61, 6. There is no option overload: clients have met it too rarely to be
// trusted with it.
//
// # IPv6
//
// A [ResponderV6] takes every router solicitation and every UDP packet to port
// 547, also behind extension headers, and answers as the router, from its
// link-local address. Its router advertisement has the prefix, the MTU, name
// servers and search list (RFC 8106), and tells the guest either to ask by DHCPv6
// (flags M and O, prefix without A) or to make its address by itself (A and O;
// the CNI result then has the address made from the MAC). Name servers and prefix
// hold for ever, the router for 18 hours; it is advertised again with the guest's
// first neighbour discovery, ARP or DHCPv6 ten minutes after the last time.
//
// DHCPv6 (RFC 8415) is answered in both cases: SOLICIT (with rapid commit too),
// REQUEST, RENEW and REBIND get the address of the lease, in one identity
// association, and an end to every other address that they name; CONFIRM is told
// NotOnLink for any other address; INFORMATION-REQUEST gets name servers and
// search list; RELEASE and DECLINE are counted, as for IPv4. Whatever DUID and
// IAID a client sends, the address is the attachment's. There are no temporary
// addresses and no prefixes to delegate; both are answered so.
package dhcp
