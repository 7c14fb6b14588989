package dhcp

import (
	"sync/atomic"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// A Responder answers the DHCPv4 messages of one guest. It has no goroutine and
// nothing to close.
type Responder struct {
	cfg   atomic.Pointer[Config] // complete, never changed
	stats struct {
		discovers, requests, informs, declines, releases atomic.Uint64
		offers, acks, naks, ignored, malformed           atomic.Uint64
	}
}

var _ relay.Stage = (*Responder)(nil)

// New returns a responder. The error wraps ErrConfig.
func New(cfg Config) (*Responder, error) {
	r := new(Responder)
	return r, r.Update(cfg)
}

// Update changes what guests are told from now on. A guest asks again at half of
// the lease time. An error wraps ErrConfig, and leaves all as it was.
func (r *Responder) Update(cfg Config) error {
	c, err := cfg.complete()
	if err != nil {
		return err
	}
	r.cfg.Store(c)
	return nil
}

// FromGuest implements relay.Stage. Frames that are not for a DHCPv4 server pass
// at the cost of a few comparisons.
func (r *Responder) FromGuest(frame []byte, reply func(frame []byte)) (relay.Verdict, relay.Reason) {
	if !isDHCP(frame) {
		return relay.Pass, relay.ReasonNone
	}
	msg, mac, src, ok := payload(frame)
	if !ok {
		return r.malformed()
	}
	req, err := decode(msg)
	if err != nil || req.OpCode != dhcpv4.OpcodeBootRequest {
		return r.malformed()
	}
	x := exchange{r: r, cfg: r.cfg.Load(), req: req, mac: mac, src: src}
	if out := x.answer(); out != nil {
		reply(out)
	}
	return relay.Taken, relay.ReasonNone
}

func (r *Responder) malformed() (relay.Verdict, relay.Reason) {
	r.stats.malformed.Add(1)
	return relay.Drop, relay.ReasonMalformed
}

// decode reads a message. Some clients leave the end option out, which the codec
// minds and nobody else does.
func decode(msg []byte) (*dhcpv4.DHCPv4, error) {
	req, err := dhcpv4.FromBytes(msg)
	if err == nil {
		return req, nil
	}
	ended := append(msg[:len(msg):len(msg)], dhcpv4.OptionEnd.Code())
	return dhcpv4.FromBytes(ended)
}

// Stats counts messages since the responder was made.
type Stats struct {
	Discovers, Requests, Informs, Declines, Releases uint64 // from the guest
	Offers, Acks, Naks                               uint64 // to the guest
	Ignored                                          uint64 // for another server, or of no use
	Malformed                                        uint64 // dropped
}

// Stats returns the counts.
func (r *Responder) Stats() Stats {
	s := &r.stats
	return Stats{
		Discovers: s.discovers.Load(), Requests: s.requests.Load(), Informs: s.informs.Load(),
		Declines: s.declines.Load(), Releases: s.releases.Load(),
		Offers: s.offers.Load(), Acks: s.acks.Load(), Naks: s.naks.Load(),
		Ignored: s.ignored.Load(), Malformed: s.malformed.Load(),
	}
}
