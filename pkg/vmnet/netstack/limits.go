package netstack

import "time"

// Limits bounds what the guests of one network may use, and Sockets those of all. A zero field has the
// default named beside it. A guest is counted by its IPv4 address for flows and
// by its port for frames.
type Limits struct {
	// TCPPerGuest and TCPTotal bound open TCP flows, those being dialled
	// included. A connection beyond them is refused with RST. 2048 and 8192.
	// Of these 4096 are dialled at once, 1024 for each guest.
	TCPPerGuest, TCPTotal int
	// TCPIdle ends a TCP flow on which nothing moved. RFC 5382, REQ-5 wants at
	// least 2 h 4 min, the default.
	TCPIdle time.Duration
	// DialTimeout bounds the host's connection attempt. 30 s.
	DialTimeout time.Duration

	// UDPPerGuest and UDPTotal bound UDP flows. A new flow beyond them takes the
	// place of the one unused longest. 1024 and 4096.
	UDPPerGuest, UDPTotal int
	// UDPIdle ends a UDP flow on which nothing moved. RFC 4787, REQ-5 wants at
	// least 2 min, the default.
	UDPIdle time.Duration
	// UDPIdleDNS is UDPIdle for flows to port 53, which REQ-5 lets be shorter. 20 s.
	UDPIdleDNS time.Duration

	// PingPerGuest and PingTotal bound ICMP echo flows to the outside. 32 and 128.
	PingPerGuest, PingTotal int
	// PingIdle ends an echo flow. RFC 5508, REQ-1 wants at least 60 s, the default.
	PingIdle time.Duration

	// Sockets bounds the sockets of the host that all flows of all networks of a
	// driver have, DNS queries being answered included, a quarter of them for each
	// guest. Beyond it TCP and UDP flows fare as beyond TCPPerGuest and UDPPerGuest,
	// counted as SocketLimit. Half of RLIMIT_NOFILE.
	Sockets int

	// DNSInFlight bounds DNS queries being answered at once, a quarter of them for
	// each guest. More are dropped, and the guest's resolver asks again. 1024.
	DNSInFlight int
	// DNSConns bounds the guests' open TCP connections to the DNS server, a quarter
	// of them for each guest. 256.
	DNSConns int
	// DNSTimeout is how long one resolver has to answer. 2 s.
	DNSTimeout time.Duration

	// QueueFrames and QueueBytes bound the frames waiting to be read from one
	// device; whichever is reached first. 2048 and 8 MiB.
	QueueFrames, QueueBytes int
	// FloodRate and FloodBurst bound the frames that one guest may have sent to
	// every port: broadcast, multicast, unknown unicast. 2000 per second, 2000.
	FloodRate, FloodBurst int
	// MACsPerPort bounds the source addresses learned from one guest, its own
	// included. 256.
	MACsPerPort int
	// LearnRate bounds how many addresses per second are learned from one guest.
	// 200.
	LearnRate int
	// MACAge forgets a learned address that was silent for so long. IEEE 802.1Q,
	// table 8-6 recommends 300 s, the default.
	MACAge time.Duration
}

func (l Limits) withDefaults() Limits {
	def(&l.TCPPerGuest, 2048)
	def(&l.TCPTotal, 8192)
	def(&l.TCPIdle, 2*time.Hour+4*time.Minute)
	def(&l.DialTimeout, 30*time.Second)
	def(&l.UDPPerGuest, 1024)
	def(&l.UDPTotal, 4096)
	def(&l.UDPIdle, 2*time.Minute)
	def(&l.UDPIdleDNS, 20*time.Second)
	def(&l.PingPerGuest, 32)
	def(&l.PingTotal, 128)
	def(&l.PingIdle, time.Minute)
	def(&l.Sockets, defaultSockets())
	def(&l.DNSInFlight, 1024)
	def(&l.DNSConns, 256)
	def(&l.DNSTimeout, 2*time.Second)
	def(&l.QueueFrames, 2048)
	def(&l.QueueBytes, 8<<20)
	def(&l.FloodRate, 2000)
	def(&l.FloodBurst, 2000)
	def(&l.MACsPerPort, 256)
	def(&l.LearnRate, 200)
	def(&l.MACAge, 5*time.Minute)
	return l
}

// def gives *v the value d when it is zero or below.
func def[T ~int | ~int64](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// tick returns how often time-outs are looked at: often enough that none is
// exceeded by more than a quarter, and not more often than needed.
func (l Limits) tick() time.Duration {
	shortest := min(l.TCPIdle, l.UDPIdle, l.UDPIdleDNS, l.PingIdle, l.MACAge)
	return max(5*time.Millisecond, shortest/4)
}
