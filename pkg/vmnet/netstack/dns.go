package netstack

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/vmnet-cni/vmnet/internal/names"
	"github.com/vmnet-cni/vmnet/internal/quota"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

const (
	// maxQuery is the longest query over UDP that is looked at, in bytes: a
	// query with every option in use is far shorter.
	maxQuery = 4096
	// dnsConnIdle ends a guest's connection on which no query comes (RFC 7766,
	// 6.2.3 wants "on the order of a few seconds").
	dnsConnIdle = 10 * time.Second
)

// dnsServer answers at the gateway's port 53.
type dnsServer struct {
	g         *gateway
	names     *names.Table
	resolvers resolvers
	forwards  bool                // a shared network: other names are asked of the resolvers
	inFlight  *quota.Quota[owner] // queries being answered
	conns     *quota.Quota[owner] // open connections
	buffers   sync.Pool           // of *[]byte, 64 KiB long
}

func newDNSServer(g *gateway) *dnsServer {
	l := g.cfg.Limits
	d := &dnsServer{
		g:         g,
		names:     names.New(g.info.Domain, g.info.Subnet, g.info.Subnet6),
		resolvers: resolvers{fixed: g.info.Resolvers, path: g.cfg.ResolvConf},
		forwards:  g.info.Mode == vmnet.Shared,
		inFlight:  quartered(l.DNSInFlight),
		conns:     quartered(l.DNSConns),
	}
	// Both names are valid labels; only a domain that is no name fails, and then
	// there are no own names.
	if err := d.names.Reserve(vmnet.NameGateway, g.info.Gateway, g.policy.six.gateway); err != nil {
		g.cfg.Log("dns: %v", err)
	}
	if err := d.names.Reserve(vmnet.NameHost, g.info.HostLoopbackAddr, g.info.HostLoopbackAddr6); err != nil {
		g.cfg.Log("dns: %v", err)
	}
	return d
}

// handleUDP takes a query on the guest's goroutine and answers it on another.
func (d *dnsServer) handleUDP(key flowKey, payload []byte) {
	if len(payload) > maxQuery {
		d.g.count.drop(DNSMalformed)
		return
	}
	asks := owner{d.g, key.guest.Addr()}
	if !d.inFlight.Take(asks) {
		d.g.count.drop(DNSLimit)
		return
	}
	query := append([]byte(nil), payload...)
	if !d.g.start(func() {
		defer d.inFlight.Give(asks)
		if reply := d.answer(query, false); reply != nil {
			d.reply(key, reply)
		}
	}) {
		d.inFlight.Give(asks)
	}
}

func (d *dnsServer) reply(key flowKey, msg []byte) {
	route := d.g.route(key.dst.Addr(), key.guest.Addr())
	if route == nil {
		return // the gateway closes
	}
	defer route.Release()
	d.g.sendUDP(route, key.dst.Port(), key.guest.Port(), msg)
}

// serveDNS answers a guest's connection to the gateway's port 53.
func (t *tcpNAT) serveDNS(r *tcp.ForwarderRequest, id stack.TransportEndpointID) {
	d := t.g.dns
	asks := owner{t.g, toAddr(id.RemoteAddress)}
	if !d.conns.Take(asks) {
		t.g.count.drop(DNSLimit)
		r.Complete(true)
		t.dialed(id)
		return
	}
	defer d.conns.Give(asks)
	var wq waiter.Queue
	ep, terr := r.CreateEndpoint(&wq)
	r.Complete(false)
	t.dialed(id)
	if terr != nil {
		return
	}
	conn := gonet.NewTCPConn(&wq, ep)
	defer conn.Close()
	d.serveConn(conn)
}

// serveConn answers one query after the other until the guest ends or is silent.
func (d *dnsServer) serveConn(conn net.Conn) {
	for {
		if conn.SetReadDeadline(time.Now().Add(dnsConnIdle)) != nil {
			return
		}
		query, err := readMessage(conn)
		if err != nil {
			return
		}
		reply := d.answer(query, true)
		if reply == nil || conn.SetWriteDeadline(time.Now().Add(dnsConnIdle)) != nil {
			return
		}
		if writeMessage(conn, reply) != nil {
			return
		}
	}
}

// readMessage reads one message with its length before it (RFC 1035, 4.2.2).
func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, msg)
	return msg, err
}

// writeMessage writes one message with its length in one piece (RFC 7766, 8).
func writeMessage(w io.Writer, msg []byte) error {
	if len(msg) > 0xffff {
		return io.ErrShortWrite
	}
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg)))
	_, err := w.Write(append(b, msg...))
	return err
}

func (d *dnsServer) buffer() *[]byte {
	if b, ok := d.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 64<<10)
	return &b
}
