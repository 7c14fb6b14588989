// Package namestage answers a guest's DNS queries for the names of its own network
// on the way of its frames, where the gateway is the system's and knows nothing of
// them. All other queries pass, to whoever answers at the gateway.
package namestage

import (
	"net/netip"
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/vmnet-cni/vmnet/internal/names"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// maxQuery is the longest query in bytes that is looked at: one with every option
// in use is far shorter.
const maxQuery = 4096

// A Stage answers the queries over UDP that one guest sends to one of the servers.
// Those over TCP pass: own answers fit a datagram. It has no goroutine and nothing
// to close.
type Stage struct {
	table    *names.Table
	servers  []netip.Addr
	answered atomic.Uint64
}

var _ relay.Stage = (*Stage)(nil)

// New returns a stage for the names of table, which it shares with the stages of
// the network's other guests. servers are the name servers that guests are told
// of and that are the gateway.
func New(table *names.Table, servers ...netip.Addr) *Stage {
	s := &Stage{table: table}
	for _, a := range servers {
		if a.IsValid() {
			s.servers = append(s.servers, a.WithZone(""))
		}
	}
	return s
}

// Answered returns how many queries were answered.
func (s *Stage) Answered() uint64 { return s.answered.Load() }

// FromGuest implements relay.Stage. Frames that are no DNS over UDP pass at the
// cost of a few comparisons.
func (s *Stage) FromGuest(frame []byte, reply func(frame []byte)) (relay.Verdict, relay.Reason) {
	p, ok := parse(frame)
	if !ok || !s.serves(p.server) || len(p.query) > maxQuery {
		return relay.Pass, relay.ReasonNone
	}
	answer := s.answer(p.query)
	if answer == nil {
		return relay.Pass, relay.ReasonNone
	}
	s.answered.Add(1)
	reply(p.back(frame, answer))
	return relay.Taken, relay.ReasonNone
}

func (s *Stage) serves(a netip.Addr) bool {
	for _, server := range s.servers {
		if a == server {
			return true
		}
	}
	return false
}

// answer returns the reply to a query for one of the network's own names, or nil.
func (s *Stage) answer(query []byte) []byte {
	m := new(dns.Msg)
	if m.Unpack(query) != nil || m.Response || m.Opcode != dns.OpcodeQuery || len(m.Question) != 1 ||
		!s.table.Owns(dns.CanonicalName(m.Question[0].Name)) {
		return nil
	}
	out := s.table.Answer(m)
	out.Truncate(names.UDPSize(m))
	b, err := out.Pack()
	if err != nil {
		return nil // the query passes, and the host says that there is no such name
	}
	return b
}
