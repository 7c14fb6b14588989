package netstack

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// exchange asks one resolver after the other with the guest's own bytes, and
// returns the first good reply as it came: truncated ones, DNSSEC and options
// nobody here knows pass untouched. A resolver that fails, refuses or does not
// answer in time is passed over; when all are, the last refusal is the reply, or
// nil.
func (d *dnsServer) exchange(query []byte, m *dns.Msg, tcp bool) []byte {
	var last []byte
	for _, r := range d.resolvers.get(time.Now()) {
		reply := d.ask(r, query, m, tcp)
		if reply == nil {
			if d.g.ctx.Err() != nil {
				return nil
			}
			continue
		}
		switch int(reply[3] & 0x0f) {
		case dns.RcodeServerFailure, dns.RcodeNotImplemented, dns.RcodeRefused:
			last = reply
		default:
			return reply
		}
	}
	return last
}

// ask returns the resolver's reply, or nil when there was none in time.
func (d *dnsServer) ask(to netip.AddrPort, query []byte, m *dns.Msg, tcp bool) []byte {
	network := "udp"
	if tcp {
		network = "tcp"
	}
	ctx, cancel := context.WithTimeout(d.g.ctx, d.g.cfg.Limits.DNSTimeout)
	defer cancel()
	own := owner{g: d.g}
	if !d.g.cfg.sockets.Take(own) {
		d.g.count.drop(SocketLimit)
		return nil
	}
	defer d.g.cfg.sockets.Give(own)
	// A socket of its own for each query: its port is what makes a forged answer
	// unlikely (RFC 5452, 9.2).
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, to.String())
	if err != nil {
		return nil
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if tcp {
		return askTCP(conn, query, m)
	}
	return d.askUDP(conn, query, m)
}

func askTCP(conn net.Conn, query []byte, m *dns.Msg) []byte {
	if writeMessage(conn, query) != nil {
		return nil
	}
	reply, err := readMessage(conn)
	if err != nil || !answers(reply, m) {
		return nil
	}
	return reply
}

func (d *dnsServer) askUDP(conn net.Conn, query []byte, m *dns.Msg) []byte {
	if _, err := conn.Write(query); err != nil {
		return nil
	}
	buf := d.buffer()
	defer d.buffers.Put(buf)
	for {
		n, err := conn.Read(*buf)
		if err != nil {
			return nil
		}
		// Anything else is a late answer or a forged one: keep waiting.
		if answers((*buf)[:n], m) {
			return append([]byte(nil), (*buf)[:n]...)
		}
	}
}

// answers reports whether reply is an answer to the query m (RFC 5452, 9.1). The
// question may be left out of errors.
func answers(reply []byte, m *dns.Msg) bool {
	const headerLen = 12
	if len(reply) < headerLen || reply[2]&0x80 == 0 || uint16(reply[0])<<8|uint16(reply[1]) != m.Id {
		return false
	}
	questions := int(reply[4])<<8 | int(reply[5])
	if questions == 0 {
		return reply[3]&0x0f != dns.RcodeSuccess
	}
	name, off, err := dns.UnpackDomainName(reply, headerLen)
	if err != nil || questions != 1 || len(reply) < off+4 {
		return false
	}
	q := m.Question[0]
	qtype, qclass := uint16(reply[off])<<8|uint16(reply[off+1]), uint16(reply[off+2])<<8|uint16(reply[off+3])
	return strings.EqualFold(name, q.Name) && qtype == q.Qtype && qclass == q.Qclass
}
