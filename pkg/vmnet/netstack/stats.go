package netstack

import "sync/atomic"

// A Reason says why something was dropped or refused. Its text is stable: it is
// the label of a metric.
type Reason uint8

// Reasons of the switch (frames) and of the gateway (packets, flows).
const (
	QueueFull     Reason = iota // the receiving guest did not read in time
	FloodLimit                  // too many broadcast, multicast or unknown frames
	BadSource                   // a frame's source is a group, the gateway's or another guest's
	SamePort                    // destination is on the port that the frame came from
	Reserved                    // a link-local group that bridges do not forward (IEEE 802.1Q, 8.6.3)
	Isolated                    // guests of the network are kept from each other
	PortGone                    // the receiving device was closed
	LearnLimit                  // an address was not learned; the frame itself went on
	EtherType                   // the gateway speaks neither this protocol nor VLAN tags
	Malformed                   // no valid IPv4 or ARP packet
	BadSourceIP                 // an IPv4 source outside the subnet, or the gateway's
	NotForwarded                // broadcast or multicast that a router does not forward
	Prohibited                  // a destination that guests must not reach
	NoSuchHost                  // an address of the subnet that is nobody's
	HostOnly                    // the outside, from a host network
	TTLExceeded                 // time to live used up at the gateway
	PortClosed                  // a port of the gateway that is not DNS
	FlowLimit                   // per-guest or total limit of flows
	FlowEvicted                 // a UDP or ping flow ended early to make room
	SocketLimit                 // the limit of the host's sockets for flows, of this guest or of all
	FlowIdle                    // a flow ended because nothing moved
	DialRefused                 // the host's peer refused
	DialUnreached               // unreachable or timed out
	DialFailed                  // any other failure to open a host socket
	NoPing                      // the system allows no unprivileged ping
	HostQueueFull               // the host's socket took no more datagrams
	DNSLimit                    // too many DNS queries or connections at once
	DNSMalformed                // not a DNS query
	numReasons

	// Unheard is for what every guest sends to groups and nobody misses; it is not
	// counted.
	Unheard = numReasons + 1
)

var reasonText = [numReasons]string{
	QueueFull: "queue-full", FloodLimit: "flood-limit", BadSource: "bad-source",
	SamePort: "same-port", Reserved: "reserved-group", Isolated: "isolated",
	PortGone: "port-gone", LearnLimit: "learn-limit", EtherType: "ethertype",
	Malformed: "malformed", BadSourceIP: "bad-source-ip", NotForwarded: "not-forwarded",
	Prohibited: "prohibited", NoSuchHost: "no-such-host", HostOnly: "host-only",
	TTLExceeded: "ttl-exceeded", PortClosed: "port-closed", FlowLimit: "flow-limit",
	FlowEvicted: "flow-evicted", SocketLimit: "socket-limit", FlowIdle: "flow-idle", DialRefused: "dial-refused",
	DialUnreached: "dial-unreachable", DialFailed: "dial-failed", NoPing: "no-ping",
	HostQueueFull: "host-queue-full", DNSLimit: "dns-limit", DNSMalformed: "dns-malformed",
}

// String returns the reason's label.
func (r Reason) String() string {
	if r < numReasons {
		return reasonText[r]
	}
	return "unknown"
}

// FlowStats counts flows of one protocol.
type FlowStats struct {
	Open  int    // now
	Total uint64 // ever opened
}

// DNSStats counts DNS queries.
type DNSStats struct {
	Queries   uint64 // all that could be read
	Own       uint64 // answered from the network's own names
	Forwarded uint64 // answered by a resolver
	Failed    uint64 // answered with SERVFAIL, for no resolver did
}

// Stats is a snapshot of a network's counters, all since it was opened.
type Stats struct {
	Ports          int    // open devices
	MACs           int    // addresses known to the switch
	Switched       uint64 // frames from guests handed to one port
	Flooded        uint64 // frames from guests handed to every port
	ToGateway      uint64 // frames handed to the gateway's stack
	FromGateway    uint64 // frames that the gateway's stack sent
	TCP, UDP, Ping FlowStats
	DNS            DNSStats
	Drops          map[string]uint64 // by Reason; reasons that never happened are left out
}

// counters are the live form of Stats. Drops are counted where they happen, in
// one place for the network: drops are rare, so that the shared cache lines do
// not matter.
type counters struct {
	drops                               [numReasons]atomic.Uint64
	fromGateway                         atomic.Uint64
	dnsQueries, dnsOwn, dnsFwd, dnsFail atomic.Uint64
}

func (c *counters) drop(r Reason) { c.drops[r].Add(1) }

func (c *counters) dropN(r Reason, n int) {
	if n > 0 {
		c.drops[r].Add(uint64(n))
	}
}

func (c *counters) fill(s *Stats) {
	s.Drops = make(map[string]uint64)
	for r := range c.drops {
		if n := c.drops[r].Load(); n > 0 {
			s.Drops[Reason(r).String()] = n
		}
	}
	s.FromGateway = c.fromGateway.Load()
	s.DNS = DNSStats{
		Queries: c.dnsQueries.Load(), Own: c.dnsOwn.Load(),
		Forwarded: c.dnsFwd.Load(), Failed: c.dnsFail.Load(),
	}
}
