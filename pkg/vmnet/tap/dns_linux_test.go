package tap_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/vmnet-cni/vmnet/internal/ownns"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// verbose is a resolver on the host's loopback whose answers are long.
func verbose(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		for range 200 {
			a.Answer = append(a.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{strings.Repeat("x", 250)}})
		}
		_ = w.WriteMsg(a)
	})}
	started, done := make(chan struct{}), make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go func() { defer close(done); _ = s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = s.Shutdown(); <-done })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// dialDNS connects a guest to the gateway's DNS server.
func (s space) dialDNS(t *testing.T) *net.TCPConn {
	t.Helper()
	var c net.Conn
	s.do(t, func() (err error) { c, err = net.DialTimeout("tcp", "192.168.127.1:53", time.Minute); return err })
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// question is a query as it goes over TCP.
func question(t *testing.T) []byte {
	t.Helper()
	b, err := new(dns.Msg).SetQuestion("long.example.", dns.TypeTXT).Pack()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{0, byte(len(b))}, b...)
}

// TestDNSMute has a guest ask and not read: the network is closed all the same.
func TestDNSMute(t *testing.T) {
	ownns.Needs(t)
	n := open(t, newDriver(t), vmnet.NetworkConfig{Subnet: subnet, Resolvers: []netip.AddrPort{verbose(t)}})
	s, _ := plugged(t, n, "192.168.127.2/24")
	c, q := s.dialDNS(t), question(t)
	if err := c.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	for range 120 { // 50 KiB each
		if _, err := c.Write(q); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil { // answers come
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- n.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the network waits for a guest that does not read")
		c.Close()
	}
}

// TestDNSMany has a guest open more connections than it may: those above are closed,
// a neighbour has an answer, and when they have ended there is room again.
func TestDNSMany(t *testing.T) {
	ownns.Needs(t)
	n := open(t, newDriver(t), vmnet.NetworkConfig{Subnet: subnet, Resolvers: []netip.AddrPort{verbose(t)}})
	s, _ := plugged(t, n, "192.168.127.2/24")
	other, _ := plugged(t, n, "192.168.127.3/24")
	const allowed = 16
	for end := time.Now().Add(time.Minute); ; {
		conns := make([]*net.TCPConn, 2*allowed)
		for i := range conns {
			conns[i] = s.dialDNS(t)
		}
		refused, soon := 0, time.Now().Add(time.Second)
		for _, c := range conns[allowed:] { // those are never taken while the others are there
			_ = c.SetReadDeadline(soon)
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				refused++
			}
		}
		answered(t, other.dialDNS(t))
		for _, c := range conns {
			c.Close()
		}
		if refused == allowed {
			break
		}
		if time.Now().After(end) { // the server ends what is silent for 2 s: a slow machine gives room
			t.Errorf("%d connections refused, want %d", refused, allowed)
			break
		}
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		c := s.dialDNS(t)
		_, err := c.Write(question(t))
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 1000))
		}
		c.Close()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no room after all have ended: %v", err)
		}
	}
}

// slow is a resolver on the host's loopback that answers all but names below "slow".
func slow(t *testing.T) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if !strings.HasSuffix(q.Question[0].Name, "slow.") {
			_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError))
		}
	})}
	started, done := make(chan struct{}), make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go func() { defer close(done); _ = s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = s.Shutdown(); <-done })
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

// TestDNSFlood has a guest ask what nobody answers, until it is refused: a neighbour's
// question is answered meanwhile.
func TestDNSFlood(t *testing.T) {
	ownns.Needs(t)
	n := open(t, newDriver(t), vmnet.NetworkConfig{Subnet: subnet, Resolvers: []netip.AddrPort{slow(t)}})
	dial := func(addr string) *dns.Conn {
		s, _ := plugged(t, n, addr)
		var c net.Conn
		s.do(t, func() (err error) { c, err = net.Dial("udp", "192.168.127.1:53"); return err })
		t.Cleanup(func() { c.Close() })
		return &dns.Conn{Conn: c}
	}
	hostile, other := dial("192.168.127.2/24"), dial("192.168.127.3/24")
	refused := func() bool {
		for i := range 20 {
			if err := hostile.WriteMsg(new(dns.Msg).SetQuestion(fmt.Sprintf("n%d.slow.", i), dns.TypeA)); err != nil {
				t.Fatal(err)
			}
		}
		_ = hostile.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		a, err := hostile.ReadMsg()
		return err == nil && a.Rcode == dns.RcodeRefused
	}
	for end := time.Now().Add(time.Minute); !refused(); {
		if time.Now().After(end) {
			t.Fatal("any number of questions is taken")
		}
	}
	c := dns.Client{Timeout: 5 * time.Second}
	a, _, err := c.ExchangeWithConn(new(dns.Msg).SetQuestion("other.", dns.TypeA), other)
	for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); { // lost, among so many
		a, _, err = c.ExchangeWithConn(new(dns.Msg).SetQuestion("other.", dns.TypeA), other)
	}
	if err != nil || a.Rcode != dns.RcodeNameError {
		t.Errorf("a neighbour's question: %v, %v", a, err)
	}
}

func answered(t *testing.T, c *net.TCPConn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Write(question(t)); err != nil {
		t.Error(err)
		return
	}
	if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
		t.Errorf("a neighbour has no answer: %v", err)
	}
}
