package guest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/vmnet-cni/vmnet/conformance/guest"
	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

var (
	addrA = netip.MustParsePrefix("10.9.8.1/24")
	addrB = netip.MustParsePrefix("10.9.8.2/24")
	macA  = net.HardwareAddr{2, 0, 0, 0, 0, 0xa}
	macB  = net.HardwareAddr{2, 0, 0, 0, 0, 0xb}
)

// port returns the port of one end of a socket pair.
func port(t testing.TB, kind string, f *os.File) relay.Port {
	t.Helper()
	open := relay.NewDatagramPort
	if kind == handover.KindStream {
		open = relay.NewStreamPort
	}
	p, err := open(f, 1514)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// twoGuests returns guests joined by a socket pair, with fixed addresses. Each
// takes the other for its name server.
func twoGuests(t testing.TB, kind string) (a, b *guest.Guest) {
	t.Helper()
	fa, fb, err := handover.Pair(kind, 1514, false)
	if err != nil {
		t.Fatal(err)
	}
	start := func(f *os.File, mac net.HardwareAddr, own, other netip.Prefix) *guest.Guest {
		g, err := guest.New(port(t, kind, f), guest.Config{MAC: mac})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Close() })
		if err := g.SetLease(guest.Lease{Address: own, DNS: []netip.Addr{other.Addr()}}); err != nil {
			t.Fatal(err)
		}
		return g
	}
	return start(fa, macA, addrA, addrB), start(fb, macB, addrB, addrA)
}

func both(t *testing.T, fn func(t *testing.T, a, b *guest.Guest)) {
	for _, kind := range []string{handover.KindDgram, handover.KindStream} {
		t.Run(kind, func(t *testing.T) {
			a, b := twoGuests(t, kind)
			fn(t, a, b)
		})
	}
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestARPAndPing(t *testing.T) {
	both(t, func(t *testing.T, a, b *guest.Guest) {
		mac, err := a.ARP(soon(t), addrB.Addr())
		if err != nil || mac.String() != macB.String() {
			t.Errorf("arp: %s, %v, want %s", mac, err, macB)
		}
		for range 3 {
			rtt, err := b.Ping(soon(t), addrA.Addr())
			if err != nil || rtt <= 0 {
				t.Errorf("ping: %v, %v", rtt, err)
			}
		}
		if _, err := a.ARP(soon(t), netip.MustParseAddr("10.9.8.77")); err == nil {
			t.Errorf("arp of nobody: no error")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := a.Ping(ctx, netip.MustParseAddr("10.9.8.77")); err == nil {
			t.Errorf("ping of nobody: no error")
		}
		if s := a.Stats(); s.RxFrames == 0 || s.TxFrames == 0 || s.TxDropped != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestHTTP(t *testing.T) {
	both(t, func(t *testing.T, a, b *guest.Guest) {
		serveHTTP(t, b)
		for range 2 {
			resp, err := a.HTTPClient().Get("http://10.9.8.2/hello")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(body) != "GET /hello for 10.9.8.2" {
				t.Errorf("got %q, %v", body, err)
			}
		}
		if c, err := a.DialContext(soon(t), "tcp", "10.9.8.2:9"); err == nil {
			c.Close()
			t.Errorf("dial a port where nobody listens: no error")
		}
		for _, bad := range []string{"10.9.8.2", "10.9.8.2:http", "10.9.8.2:70000", "[fd00::1]:80"} {
			if _, err := a.DialContext(soon(t), "tcp", bad); err == nil {
				t.Errorf("dial %q: no error", bad)
			}
		}
		if _, err := a.DialContext(soon(t), "unix", "10.9.8.2:80"); err == nil {
			t.Errorf("dial network unix: no error")
		}
	})
}

// serveHTTP answers on port 80 of g.
func serveHTTP(t *testing.T, g *guest.Guest) {
	l, err := g.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s for %s", r.Method, r.URL.Path, r.Host)
	})}
	var done sync.WaitGroup
	done.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() { srv.Close(); done.Wait() })
}

func TestSendAndDrain(t *testing.T) {
	both(t, func(t *testing.T, a, b *guest.Guest) {
		const total = 8 << 20
		l, err := b.Listen(0)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		got := make(chan int64, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				got <- -1
				return
			}
			n, _ := guest.Drain(c)
			got <- n
		}()
		c, err := a.DialContext(soon(t), "tcp", fmt.Sprintf("10.9.8.2:%d", l.Addr().(*net.TCPAddr).Port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		rate, err := guest.Send(soon(t), c, total)
		if n := <-got; err != nil || n != total {
			t.Errorf("sent %d, drained %d, %v", total, n, err)
		}
		t.Logf("%s, %+v", rate, a.Stats())
	})
}

func TestDNS(t *testing.T) {
	a, b := twoGuests(t, handover.KindDgram)
	serveDNS(t, b)
	got, err := a.LookupHost(soon(t), "one.test")
	if err != nil || len(got) != 1 || got[0] != addrB.Addr() {
		t.Errorf("one.test: %v, %v", got, err)
	}
	if got, err := a.LookupHost(soon(t), "many.test"); err != nil || len(got) != 100 {
		t.Errorf("many.test, which needs TCP: %d addresses, %v", len(got), err)
	}
	var de *net.DNSError
	if _, err := a.LookupHost(soon(t), "none.test"); !errors.As(err, &de) || !de.IsNotFound {
		t.Errorf("none.test: %v", err)
	}
	if got, err := a.LookupHost(soon(t), "late.test"); err != nil || len(got) != 1 {
		t.Errorf("late.test, which fails at first: %v, %v", got, err)
	}
	if _, err := a.LookupHost(soon(t), "broken.test"); !errors.As(err, &de) || de.IsNotFound || de.Err != "SERVFAIL" {
		t.Errorf("broken.test: %v", err)
	}
	if got, err := a.Resolver().LookupHost(soon(t), "one.test."); err != nil || len(got) != 1 || got[0] != addrB.Addr().String() {
		t.Errorf("Resolver: %v, %v", got, err)
	}
	serveHTTP(t, b)
	resp, err := a.HTTPClient().Get("http://one.test/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// serveDNS answers on port 53 of g, by UDP and TCP.
func serveDNS(t *testing.T, g *guest.Guest) {
	pc, err := g.ListenPacket(53)
	if err != nil {
		t.Fatal(err)
	}
	l, err := g.Listen(53)
	if err != nil {
		t.Fatal(err)
	}
	var late atomic.Int32
	handler := func(udp bool) dns.Handler {
		return dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			r := new(dns.Msg)
			r.SetReply(q)
			rr := &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: addrB.Addr().AsSlice()}
			switch q.Question[0].Name {
			case "one.test.":
				r.Answer = []dns.RR{rr}
			case "many.test.":
				for range 100 {
					r.Answer = append(r.Answer, rr)
				}
				if udp {
					r.Truncate(dns.MinMsgSize)
				}
			case "late.test.":
				if r.Answer = []dns.RR{rr}; late.Add(1) < 3 {
					r.Answer, r.Rcode = nil, dns.RcodeServerFailure
				}
			case "broken.test.":
				r.Rcode = dns.RcodeServerFailure
			default:
				r.Rcode = dns.RcodeNameError
			}
			_ = w.WriteMsg(r)
		})
	}
	var done sync.WaitGroup
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: handler(true)}, {Listener: l, Handler: handler(false)}} {
		started := make(chan bool)
		srv.NotifyStartedFunc = func() { close(started) }
		done.Go(func() { _ = srv.ActivateAndServe() })
		<-started
		t.Cleanup(func() { pc.Close(); l.Close(); _ = srv.Shutdown(); done.Wait() })
	}
}

// TestClose checks that Close ends what is under way, and that a guest whose
// other side has gone can be closed.
func TestClose(t *testing.T) {
	both(t, func(t *testing.T, a, b *guest.Guest) {
		l, err := b.Listen(7)
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan error, 1)
		go func() {
			for {
				if _, err := l.Accept(); err != nil {
					accepted <- err
					return
				}
			}
		}()
		c, err := a.DialContext(soon(t), "tcp", "10.9.8.2:7")
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 1))
			read <- err
		}()
		for range 2 {
			if err := a.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		if err := <-read; err == nil {
			t.Errorf("a read ended with data")
		}
		<-a.Gone()
		l.Close()
		if err := <-accepted; err == nil {
			t.Errorf("an accept ended with a connection")
		}
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if _, err := b.DHCP(soon(t)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("dhcp after close: %v", err)
		}
	})
}

func TestBadConfig(t *testing.T) {
	for _, mac := range []net.HardwareAddr{nil, {1, 2, 3, 4, 5, 6}, {2, 0}} {
		f, other, err := handover.Pair(handover.KindDgram, 1514, false)
		if err != nil {
			t.Fatal(err)
		}
		p := port(t, handover.KindDgram, f)
		if _, err := guest.New(p, guest.Config{MAC: mac}); err == nil {
			t.Errorf("mac %s: no error", mac)
		}
		if _, err := p.WriteBatch([][]byte{make([]byte, 60)}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("mac %s: the port was not closed: %v", mac, err)
		}
		other.Close()
	}
	a, _ := twoGuests(t, handover.KindDgram)
	if err := a.SetLease(guest.Lease{}); err == nil {
		t.Errorf("set a lease without an address: no error")
	}
}

// TestCloseUnderTraffic closes guests while frames come in as fast as they can.
func TestCloseUnderTraffic(t *testing.T) {
	for _, kind := range []string{handover.KindDgram, handover.KindStream} {
		for range 20 {
			f, other, err := handover.Pair(kind, 1514, false)
			if err != nil {
				t.Fatal(err)
			}
			g, err := guest.New(port(t, kind, f), guest.Config{MAC: macA})
			if err != nil {
				t.Fatal(err)
			}
			if err := g.SetLease(guest.Lease{Address: addrA}); err != nil {
				t.Fatal(err)
			}
			out := port(t, kind, other)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for frames := slices.Repeat([][]byte{toNobody()}, 32); ; {
					if _, err := out.WriteBatch(frames); err != nil {
						return
					}
				}
			}()
			for g.Stats().RxFrames < 100 {
				time.Sleep(time.Millisecond)
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
			out.Close()
			<-ended
		}
	}
}

// toNobody is a datagram of IPv4 to A's card and another's address.
func toNobody() []byte {
	ip := header.IPv4(make([]byte, header.IPv4MinimumSize))
	ip.Encode(&header.IPv4Fields{
		TotalLength: header.IPv4MinimumSize, TTL: 64, Protocol: 17,
		SrcAddr: tcpip.AddrFromSlice(addrB.Addr().AsSlice()), DstAddr: tcpip.AddrFrom4([4]byte{10, 9, 8, 77}),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	return slices.Concat([]byte(macA), macB, []byte{8, 0}, []byte(ip))
}
