package names

import (
	"net/netip"

	"github.com/miekg/dns"
)

// ownTTL is how long, in seconds, a guest may remember the network's own names,
// and that one does not exist: short, since guests come and go.
const ownTTL = 30

// Failure returns the reply to query with nothing but rcode.
func Failure(query *dns.Msg, rcode int) *dns.Msg {
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

// UDPSize is how long an answer over UDP may be (RFC 6891, 6.2.3).
func UDPSize(query *dns.Msg) int {
	if opt := query.IsEdns0(); opt != nil {
		return min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDP)
	}
	return dns.MinMsgSize
}

// Answer returns the reply to a query of one question, for a name that t owns.
func (t *Table) Answer(query *dns.Msg) *dns.Msg {
	q := query.Question[0]
	if q.Qclass != dns.ClassINET && q.Qclass != dns.ClassANY {
		return Failure(query, dns.RcodeRefused)
	}
	m := new(dns.Msg)
	m.SetReply(query)
	m.Authoritative = true
	m.RecursionAvailable = true
	echoEDNS(m, query)
	name := dns.CanonicalName(q.Name)
	addrs, ptr, ok := t.lookup(name)
	hdr := dns.RR_Header{Name: q.Name, Class: dns.ClassINET, Ttl: ownTTL}
	switch {
	case !ok && name != t.domain:
		m.Rcode = dns.RcodeNameError
	case len(addrs) > 0:
		m.Answer = addressRecords(hdr, addrs, q.Qtype)
	case ptr != "" && (q.Qtype == dns.TypePTR || q.Qtype == dns.TypeANY):
		hdr.Rrtype = dns.TypePTR
		m.Answer = []dns.RR{&dns.PTR{Hdr: hdr, Ptr: ptr}}
	}
	if len(m.Answer) == 0 {
		// The SOA says how long "no" holds (RFC 2308, 3).
		m.Ns = []dns.RR{t.soa(name)}
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
func (t *Table) soa(name string) dns.RR {
	zone := t.domain
	if !dns.IsSubDomain(t.domain, name) {
		if next, end := dns.NextLabel(name, 0); !end {
			zone = name[next:]
		}
	}
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ownTTL},
		Ns:  "gateway." + t.domain, Mbox: "hostmaster." + t.domain,
		Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ownTTL,
	}
}
