package main

import (
	"net"

	"github.com/miekg/dns"
)

// outsideName is the name that the outside's DNS server knows (RFC 6761 keeps
// .test for such uses).
const outsideName = "www.outside.test"

// serveDNS answers for the one name, on sockets that it owns.
func (w *world) serveDNS(pc net.PacketConn, l net.Listener) {
	handler := dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg)
		r.SetReply(q)
		switch {
		case len(q.Question) != 1 || q.Question[0].Name != outsideName+".":
			r.Rcode = dns.RcodeNameError
		case q.Question[0].Qtype == dns.TypeA:
			r.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: outsideName + ".", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A:   w.addr.AsSlice(),
			}}
		}
		_ = rw.WriteMsg(r) // a client that has gone needs no answer
	})
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: handler}, {Listener: l, Handler: handler}} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		w.servers.Go(func() { _ = srv.ActivateAndServe() })
		<-started
		w.onClose(func() { _ = srv.Shutdown() })
	}
	w.name = outsideName
}
