package netstack_test

import (
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// resolver is a DNS server on the host's loopback, over UDP and TCP.
func resolver(t testing.TB, h dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	var pc net.PacketConn
	var l net.Listener
	wait(t, "a port that nobody has for UDP nor for TCP", func() bool {
		var err error
		if pc, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if l, err = net.Listen("tcp4", pc.LocalAddr().String()); err != nil {
			_ = pc.Close()
		}
		return err == nil
	})
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
		up, done := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		go func() {
			defer close(done)
			_ = s.ActivateAndServe()
		}()
		<-up
		t.Cleanup(func() {
			_ = s.Shutdown()
			<-done
		})
	}
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

func answerA(addr string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN A " + addr)
		m.Answer = append(m.Answer, rr)
		_ = w.WriteMsg(m)
	}
}

func fail(rcode int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetRcode(q, rcode)) }
}

// query asks the gateway over "udp" or "tcp".
func (g *guest) query(network, name string, qtype uint16) *dns.Msg {
	g.t.Helper()
	to := netip.AddrPortFrom(g.dev.Info().Gateway, 53)
	if g.addr.Is6() {
		to = netip.AddrPortFrom(vmnet.FirstAddr(g.dev.Info().Subnet6), 53)
	}
	q := new(dns.Msg).SetQuestion(name, qtype)
	co := new(dns.Conn)
	if network == "tcp" {
		co.Conn = g.mustDial(to)
	} else {
		co.Conn = g.dialUDP(to)
	}
	if network == "udp" {
		co.Conn = packetConn{co.Conn} // dns.Conn asks whether it is a net.PacketConn
	}
	if err := co.WriteMsg(q); err != nil {
		g.t.Fatalf("query %s: %v", name, err)
	}
	m, err := co.ReadMsg()
	if err != nil {
		g.t.Fatalf("query %s over %s: %v", name, network, err)
	}
	if m.Id != q.Id {
		g.t.Fatalf("query %s: id %d, want %d", name, m.Id, q.Id)
	}
	return m
}

// packetConn makes a connected UDP conn a net.PacketConn.
type packetConn struct{ net.Conn }

func (c packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := c.Read(b)
	return n, c.RemoteAddr(), err
}
func (c packetConn) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

func text(m *dns.Msg) string {
	s := dns.RcodeToString[m.Rcode]
	for _, rr := range m.Answer {
		switch r := rr.(type) {
		case *dns.A:
			s += " " + r.A.String()
		case *dns.PTR:
			s += " " + r.Ptr
		}
	}
	if m.Truncated {
		s += " truncated"
	}
	if m.Authoritative {
		s += " own"
	}
	return s
}

func TestDNSOwnNames(t *testing.T) {
	var asked atomic.Int32
	up := resolver(t, func(w dns.ResponseWriter, q *dns.Msg) { asked.Add(1); answerA("192.0.2.1")(w, q) })
	n := openNetwork(t, netstack.Config{}, func(c *vmnet.NetworkConfig) { c.Resolvers = []netip.AddrPort{up} })
	g := newGuest(t, n, "192.168.127.2")
	if err := n.SetNames("c1/eth0", []string{"web", "www"}, []netip.Addr{g.addr}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"gateway.vm.internal.", dns.TypeA, "NOERROR 192.168.127.1 own"},
		{"GateWay.VM.internal.", dns.TypeA, "NOERROR 192.168.127.1 own"},
		{"gateway.vm.internal.", dns.TypeAAAA, "NOERROR own"},
		{"host.vm.internal.", dns.TypeA, "NOERROR 192.168.127.254 own"},
		{"web.vm.internal.", dns.TypeA, "NOERROR 192.168.127.2 own"},
		{"WWW.vm.internal.", dns.TypeA, "NOERROR 192.168.127.2 own"},
		{"nobody.vm.internal.", dns.TypeA, "NXDOMAIN own"},
		{"vm.internal.", dns.TypeA, "NOERROR own"},
		{"1.127.168.192.in-addr.arpa.", dns.TypePTR, "NOERROR gateway.vm.internal. own"},
		{"2.127.168.192.in-addr.arpa.", dns.TypePTR, "NOERROR web.vm.internal. own"},
		{"77.127.168.192.in-addr.arpa.", dns.TypePTR, "NXDOMAIN own"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got := text(g.query(network, c.name, c.qtype)); got != c.want {
				t.Errorf("%s %s %s: %s, want %s", network, c.name, dns.TypeToString[c.qtype], got, c.want)
			}
		}
	}
	n.RemoveNames("c1/eth0")
	if got := text(g.query("udp", "web.vm.internal.", dns.TypeA)); got != "NXDOMAIN own" {
		t.Errorf("removed name: %s", got)
	}
	if a := asked.Load(); a != 0 {
		t.Errorf("own names were asked of the resolver %d times", a)
	}
}

func TestDNSForward(t *testing.T) {
	good := resolver(t, answerA("192.0.2.7"))
	refuses := resolver(t, fail(dns.RcodeRefused))
	broken := resolver(t, fail(dns.RcodeServerFailure))
	noName := resolver(t, fail(dns.RcodeNameError))
	dead := netip.MustParseAddrPort("127.0.0.1:1") // refuses with ICMP, or RST
	truncates := resolver(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if _, ok := w.RemoteAddr().(*net.TCPAddr); ok {
			answerA("192.0.2.8")(w, q)
			return
		}
		m := new(dns.Msg).SetReply(q)
		m.Truncated = true
		_ = w.WriteMsg(m)
	})
	// One that answers with another question, and one that lies about the id.
	forged := resolver(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Question[0].Name = "evil.example."
		_ = w.WriteMsg(m)
		m = new(dns.Msg).SetReply(q)
		m.Id++
		_ = w.WriteMsg(m)
		answerA("192.0.2.9")(w, q)
	})
	for _, c := range []struct {
		name     string
		ups      []netip.AddrPort
		udp, tcp string
	}{
		{"answers", []netip.AddrPort{good}, "NOERROR 192.0.2.7", "NOERROR 192.0.2.7"},
		{"first is dead", []netip.AddrPort{dead, good}, "NOERROR 192.0.2.7", "NOERROR 192.0.2.7"},
		{"first refuses", []netip.AddrPort{refuses, broken, good}, "NOERROR 192.0.2.7", "NOERROR 192.0.2.7"},
		{"no is an answer", []netip.AddrPort{noName, good}, "NXDOMAIN", "NXDOMAIN"},
		{"all refuse", []netip.AddrPort{broken, refuses}, "REFUSED", "REFUSED"},
		{"none answers", []netip.AddrPort{dead}, "SERVFAIL", "SERVFAIL"},
		{"truncated", []netip.AddrPort{truncates}, "NOERROR truncated", "NOERROR 192.0.2.8"},
		{"forged", []netip.AddrPort{forged}, "NOERROR 192.0.2.9", "SERVFAIL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := openNetwork(t, netstack.Config{}, func(nc *vmnet.NetworkConfig) { nc.Resolvers = c.ups })
			g := newGuest(t, n, "192.168.127.2")
			if got := text(g.query("udp", "example.com.", dns.TypeA)); got != c.udp {
				t.Errorf("udp: %s, want %s", got, c.udp)
			}
			if got := text(g.query("tcp", "example.com.", dns.TypeA)); got != c.tcp {
				t.Errorf("tcp: %s, want %s", got, c.tcp)
			}
		})
	}
}

// TestDNSTimeout has a resolver that never answers before one that does.
func TestDNSTimeout(t *testing.T) {
	silent := resolver(t, func(dns.ResponseWriter, *dns.Msg) {})
	good := resolver(t, answerA("192.0.2.7"))
	n := openNetwork(t, netstack.Config{Limits: netstack.Limits{DNSTimeout: 200 * time.Millisecond}},
		func(c *vmnet.NetworkConfig) { c.Resolvers = []netip.AddrPort{silent, good} })
	g := newGuest(t, n, "192.168.127.2")
	wait(t, "the second resolver's answer", func() bool { // for which it has no more time than the first
		return text(g.query("udp", "example.com.", dns.TypeA)) == "NOERROR 192.0.2.7"
	})
}

func TestDNSHostMode(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, func(c *vmnet.NetworkConfig) { c.Mode = vmnet.Host })
	g := newGuest(t, n, "192.168.127.2")
	if got := text(g.query("udp", "gateway.vm.internal.", dns.TypeA)); got != "NOERROR 192.168.127.1 own" {
		t.Errorf("own name: %s", got)
	}
	if got := text(g.query("tcp", "example.com.", dns.TypeA)); got != "REFUSED" {
		t.Errorf("another name: %s, want REFUSED", got)
	}
}

// TestDNSGarbage sends what is no query; the server must go on.
func TestDNSGarbage(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	g := newGuest(t, n, "192.168.127.2")
	c := g.dialUDP(netip.AddrPortFrom(n.Info().Gateway, 53))
	reply := new(dns.Msg).SetQuestion("example.com.", dns.TypeA)
	reply.Response = true
	isReply, _ := reply.Pack()
	for _, b := range [][]byte{{}, {1}, make([]byte, 11), isReply, make([]byte, 5000)} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	// A header that promises a question: FORMERR.
	if _, err := c.Write([]byte{7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 512)
	k, err := c.Read(buf)
	if err != nil || k < 12 || buf[0] != 7 || buf[3]&0xf != dns.RcodeFormatError {
		t.Errorf("answer % x, %v, want FORMERR", buf[:k], err)
	}
	tc := g.mustDial(netip.AddrPortFrom(n.Info().Gateway, 53))
	if _, err := tc.Write([]byte{0, 3, 1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(tc); len(b) != 0 || err != nil {
		t.Errorf("garbage over TCP: %d bytes, %v, want the end", len(b), err)
	}
	if got := text(g.query("udp", "gateway.vm.internal.", dns.TypeA)); got != "NOERROR 192.168.127.1 own" {
		t.Errorf("afterwards: %s", got)
	}
}

// TestDNSShare has one guest ask what nobody answers, and keep connections: another is
// served all the same.
func TestDNSShare(t *testing.T) {
	silent := resolver(t, func(dns.ResponseWriter, *dns.Msg) {})
	n := openNetwork(t, netstack.Config{Limits: netstack.Limits{DNSInFlight: 8, DNSConns: 4, DNSTimeout: time.Hour}},
		func(c *vmnet.NetworkConfig) { c.Resolvers = []netip.AddrPort{silent} })
	greedy, other := newGuest(t, n, "192.168.127.2"), newGuest(t, n, "192.168.127.3")
	at := netip.AddrPortFrom(n.Info().Gateway, 53)
	query, err := new(dns.Msg).SetQuestion("example.com.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	c := greedy.dialUDP(at)
	for range 3 { // a quarter of 8, and one more
		if _, err := c.Write(query); err != nil {
			t.Fatal(err)
		}
	}
	drops := func(want uint64) func() bool { return func() bool { return n.Stats().Drops["dns-limit"] >= want } }
	wait(t, "a query dropped", drops(1))
	greedy.mustDial(at)
	if c, err := greedy.dial(at); err == nil {
		_ = c.Close()
		t.Error("a second connection was accepted")
	}
	wait(t, "a connection refused", drops(2))
	for _, network := range []string{"udp", "tcp"} {
		if got := text(other.query(network, "gateway.vm.internal.", dns.TypeA)); got != "NOERROR 192.168.127.1 own" {
			t.Errorf("another guest, %s: %s", network, got)
		}
	}
}
