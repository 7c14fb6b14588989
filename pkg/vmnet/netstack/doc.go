// Package netstack is the driver that needs no privilege: one gVisor TCP/IP
// stack per network, in the process, is the gateway, the DNS server, the network
// address translation and, with a learning switch before it, the wire between
// the guests.
//
// # The way of a frame
//
//	guest ── Device.WriteBatch ──► switch ──► queue of another guest's port
//	                                 │
//	                                 └──────► endpoint ──► gVisor ──► host sockets
//	guest ◄── Device.ReadBatch ◄── queue ◄─── endpoint ◄── gVisor ◄──
//
// Frames between guests never enter the TCP/IP stack. Every port has one bounded
// queue, and whoever finds it full drops his frame and counts it: a guest that
// does not read loses its own frames and delays nobody.
//
// # What a guest reaches
//
// In a shared network: the other guests (unless the network is isolated), the
// gateway (ping, DNS), and through sockets of the host whatever the host
// reaches, but not 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/4,
// 240.0.0.0/4 and addresses of the network's own subnet that belong to nobody.
// With NetworkConfig.HostLoopback the last usable address of the subnet leads to
// the host's 127.0.0.1.
//
// IPv6 is the same in a /64 whose first address is the gateway's; the last one
// leads to ::1 with HostLoopback. Not reached are ::/8, 100::/64, fe80::/9,
// ff00::/8, the metadata services fd00:ec2::254 and fd20:ce::254, and what NAT64
// and 6to4 would make of a forbidden IPv4 address. Unique local addresses are
// reached as private ones of IPv4 are. A guest may use any address of the /64; the
// limits count each for itself.
//
// In a host network: the other guests, the gateway (ping, and DNS for the
// network's own names only), and with HostLoopback the host's 127.0.0.1. Nothing
// is forwarded outside. "The host" of a host network is therefore the gateway's
// address and, if asked for, the host's loopback.
//
// In a layer-2 network there is a switch and nothing else.
//
// # Translation
//
// A TCP connection is dialled on the host first and accepted only then, so a
// guest sees a refused, unreachable or timed-out connection as it was: RST or an
// ICMP error. Half-closes and resets are passed on, both ways. UDP is translated
// by flow (RFC 4787 calls it address and port dependent mapping), with the
// time-outs of its REQ-5. Pings go out where the system allows unprivileged ICMP
// sockets (net.ipv4.ping_group_range on Linux) and are answered with an ICMP
// error elsewhere. All of it is limited per guest and in total, see Limits.
package netstack
