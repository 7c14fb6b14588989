package netstack

import (
	"github.com/miekg/dns"

	"github.com/vmnet-cni/vmnet/internal/names"
)

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
		return pack(names.Failure(m, dns.RcodeNotImplemented))
	case len(m.Question) != 1:
		return pack(names.Failure(m, dns.RcodeFormatError))
	}
	if d.names.Owns(dns.CanonicalName(m.Question[0].Name)) {
		d.g.count.dnsOwn.Add(1)
		reply := d.names.Answer(m)
		if !tcp {
			reply.Truncate(names.UDPSize(m))
		}
		return pack(reply)
	}
	if !d.forwards {
		return pack(names.Failure(m, dns.RcodeRefused))
	}
	if reply := d.exchange(query, m, tcp); reply != nil {
		d.g.count.dnsFwd.Add(1)
		return reply
	}
	d.g.count.dnsFail.Add(1)
	return pack(names.Failure(m, dns.RcodeServerFailure))
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
