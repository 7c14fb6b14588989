package netstack

import (
	"net/netip"

	"github.com/miekg/dns"
)

// ownTTL is how long, in seconds, a guest may remember the network's own names,
// and that one does not exist: short, since guests come and go.
const ownTTL = 30

// answer returns the reply to a query, or nil when it deserves none. It takes as
// long as the resolvers may take.
func (d *dnsServer) answer(query []byte, tcp bool) []byte {
	m := new(dns.Msg)
	if err := m.Unpack(query); err != nil {
		d.g.count.drop(DNSMalformed)
		return formatError(query)
	}
	if m.Response {
		d.g.count.drop(DNSMalformed)
		return nil // answering answers makes loops
	}
	d.g.count.dnsQueries.Add(1)
	switch {
	case m.Opcode != dns.OpcodeQuery:
		return pack(failure(m, dns.RcodeNotImplemented))
	case len(m.Question) != 1:
		return pack(failure(m, dns.RcodeFormatError))
	}
	if d.names.owns(dns.CanonicalName(m.Question[0].Name)) {
		d.g.count.dnsOwn.Add(1)
		reply := d.names.answer(m)
		if !tcp {
			reply.Truncate(udpSize(m))
		}
		return pack(reply)
	}
	if !d.forwards {
		return pack(failure(m, dns.RcodeRefused))
	}
	if reply := d.exchange(query, m, tcp); reply != nil {
		d.g.count.dnsFwd.Add(1)
		return reply
	}
	d.g.count.dnsFail.Add(1)
	return pack(failure(m, dns.RcodeServerFailure))
}

// formatError returns a bare FORMERR for what could not be read, when at least
// its header can.
func formatError(query []byte) []byte {
	const headerLen = 12
	if len(query) < headerLen || query[2]&0x80 != 0 {
		return nil
	}
	m := new(dns.Msg)
	m.Id = uint16(query[0])<<8 | uint16(query[1])
	m.Response = true
	m.Rcode = dns.RcodeFormatError
	return pack(m)
}

// pack returns m's bytes, or nil when it has none: then no answer is sent.
func pack(m *dns.Msg) []byte {
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// failure returns the reply to query with nothing but rcode.
func failure(query *dns.Msg, rcode int) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(query, rcode)
	m.RecursionAvailable = true
	echoEDNS(m, query)
	return m
}

// echoEDNS says that EDNS is understood, if the query used it (RFC 6891, 6.1.1).
func echoEDNS(reply, query *dns.Msg) {
	if query.IsEdns0() != nil {
		reply.SetEdns0(dns.DefaultMsgSize, false)
	}
}

// maxUDP is the longest answer over UDP in bytes, so that none is a fragment (RFC
// 9715, 3).
const maxUDP = 1232

// udpSize is how long an answer over UDP may be (RFC 6891, 6.2.3).
func udpSize(query *dns.Msg) int {
	if opt := query.IsEdns0(); opt != nil {
		return min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDP)
	}
	return dns.MinMsgSize
}

// answer returns the reply to a query for a name that n owns.
func (n *names) answer(query *dns.Msg) *dns.Msg {
	q := query.Question[0]
	if q.Qclass != dns.ClassINET && q.Qclass != dns.ClassANY {
		return failure(query, dns.RcodeRefused)
	}
	m := new(dns.Msg)
	m.SetReply(query)
	m.Authoritative = true
	m.RecursionAvailable = true
	echoEDNS(m, query)
	name := dns.CanonicalName(q.Name)
	addrs, ptr, ok := n.lookup(name)
	hdr := dns.RR_Header{Name: q.Name, Class: dns.ClassINET, Ttl: ownTTL}
	switch {
	case !ok && name != n.domain:
		m.Rcode = dns.RcodeNameError
	case len(addrs) > 0:
		m.Answer = addressRecords(hdr, addrs, q.Qtype)
	case ptr != "" && (q.Qtype == dns.TypePTR || q.Qtype == dns.TypeANY):
		hdr.Rrtype = dns.TypePTR
		m.Answer = []dns.RR{&dns.PTR{Hdr: hdr, Ptr: ptr}}
	}
	if len(m.Answer) == 0 {
		// The SOA says how long "no" holds (RFC 2308, 3).
		m.Ns = []dns.RR{n.soa(name)}
	}
	return m
}

// addressRecords returns the addresses of the wanted type.
func addressRecords(hdr dns.RR_Header, addrs []netip.Addr, qtype uint16) (list []dns.RR) {
	for _, a := range addrs {
		switch {
		case a.Is4() && (qtype == dns.TypeA || qtype == dns.TypeANY):
			hdr.Rrtype = dns.TypeA
			list = append(list, &dns.A{Hdr: hdr, A: a.AsSlice()})
		case a.Is6() && (qtype == dns.TypeAAAA || qtype == dns.TypeANY):
			hdr.Rrtype = dns.TypeAAAA
			list = append(list, &dns.AAAA{Hdr: hdr, AAAA: a.AsSlice()})
		}
	}
	return list
}

// soa returns the start of authority for name: of the domain, or of the reverse
// zone just above.
func (n *names) soa(name string) dns.RR {
	zone := n.domain
	if !dns.IsSubDomain(n.domain, name) {
		if next, end := dns.NextLabel(name, 0); !end {
			zone = name[next:]
		}
	}
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ownTTL},
		Ns:  "gateway." + n.domain, Mbox: "hostmaster." + n.domain,
		Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ownTTL,
	}
}
