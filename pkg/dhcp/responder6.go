package dhcp

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// A ResponderV6 answers the DHCPv6 messages and router solicitations of one
// guest. It has no goroutine and nothing to close.
type ResponderV6 struct {
	cfg        atomic.Pointer[ConfigV6] // complete, never changed
	advertised atomic.Int64             // unix seconds of the last advertisement
	stats      struct {
		solicits, requests, confirms, informs, declines, releases atomic.Uint64
		advertises, replies, ignored, malformed                   atomic.Uint64
		routerSolicits, routerAdverts                             atomic.Uint64
	}
}

var _ relay.Stage = (*ResponderV6)(nil)

// NewV6 returns a responder. The error wraps ErrConfig.
func NewV6(cfg ConfigV6) (*ResponderV6, error) {
	r := new(ResponderV6)
	return r, r.Update(cfg)
}

// Update changes what guests are told from now on. An error wraps ErrConfig, and
// leaves all as it was.
func (r *ResponderV6) Update(cfg ConfigV6) error {
	c, err := cfg.complete()
	if err != nil {
		return err
	}
	r.cfg.Store(c)
	r.advertised.Store(0)
	return nil
}

// FromGuest implements relay.Stage. Frames that are neither for a DHCPv6 server
// nor neighbour discovery pass at the cost of a few comparisons.
func (r *ResponderV6) FromGuest(frame []byte, reply func(frame []byte)) (relay.Verdict, relay.Reason) {
	kind, part := classify(frame)
	switch kind {
	case dhcp6:
		return r.answerDHCP(frame, part, reply)
	case solicit6:
		if part == nil || !soundSolicitation(frame, part) {
			return r.malformed()
		}
		r.stats.routerSolicits.Add(1)
		r.advertise(frame, reply)
		return relay.Taken, relay.ReasonNone
	case neighbor6:
		r.repeat(reply)
	}
	return relay.Pass, relay.ReasonNone
}

func (r *ResponderV6) answerDHCP(frame, part []byte, reply func(frame []byte)) (relay.Verdict, relay.Reason) {
	msg, ok := payload6(part)
	if !ok {
		return r.malformed()
	}
	req, err := dhcpv6.MessageFromBytes(msg)
	src, mac := source6(frame), net.HardwareAddr(frame[6:12])
	if err != nil || !src.Is6() || src.IsUnspecified() || src.IsMulticast() {
		return r.malformed()
	}
	x := exchange6{r: r, cfg: r.cfg.Load(), req: req, mac: mac, src: src}
	if out := x.answer(); out != nil {
		reply(out)
	}
	r.repeat(reply)
	return relay.Taken, relay.ReasonNone
}

func (r *ResponderV6) malformed() (relay.Verdict, relay.Reason) {
	r.stats.malformed.Add(1)
	return relay.Drop, relay.ReasonMalformed
}

// advertise answers a router solicitation.
func (r *ResponderV6) advertise(frame []byte, reply func(frame []byte)) {
	r.advertised.Store(time.Now().Unix())
	r.stats.routerAdverts.Add(1)
	reply(r.cfg.Load().advertisement(source6(frame), net.HardwareAddr(frame[6:12])))
}

// repeat advertises again if that was long ago.
func (r *ResponderV6) repeat(reply func(frame []byte)) {
	now := time.Now().Unix()
	if since := now - r.advertised.Load(); since >= 0 && since < int64(repeatAfter/time.Second) { // a clock may go back
		return
	}
	r.advertised.Store(now)
	r.stats.routerAdverts.Add(1)
	reply(r.cfg.Load().advertisement(unspecified6, nil))
}

// StatsV6 counts messages since the responder was made.
type StatsV6 struct {
	Solicits, Requests, Confirms, Informs, Declines, Releases uint64 // from the guest; Requests has RENEW and REBIND
	Advertises, Replies                                       uint64 // to the guest
	Ignored                                                   uint64 // for another server, or of no use
	Malformed                                                 uint64 // dropped
	RouterSolicits, RouterAdverts                             uint64
}

// Stats returns the counts.
func (r *ResponderV6) Stats() StatsV6 {
	s := &r.stats
	return StatsV6{
		Solicits: s.solicits.Load(), Requests: s.requests.Load(), Confirms: s.confirms.Load(),
		Informs: s.informs.Load(), Declines: s.declines.Load(), Releases: s.releases.Load(),
		Advertises: s.advertises.Load(), Replies: s.replies.Load(),
		Ignored: s.ignored.Load(), Malformed: s.malformed.Load(),
		RouterSolicits: s.routerSolicits.Load(), RouterAdverts: s.routerAdverts.Load(),
	}
}
