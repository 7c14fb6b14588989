package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/vmnet-cni/vmnet/conformance/guest"
	"github.com/vmnet-cni/vmnet/internal/port"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// soon bounds what a test waits for.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

// guest puts a guest on the frame fd of an attachment.
func (r *running) guest(n, id string) *guest.Guest {
	r.t.Helper()
	m, f, err := r.Frames(r.t.Context(), n, id, "eth0")
	if err != nil {
		r.t.Fatal(err)
	}
	port, err := guest.OpenPort(f, m.MaxFrameSize)
	if err != nil {
		r.t.Fatal(err)
	}
	mac, err := net.ParseMAC(m.MAC)
	if err != nil {
		r.t.Fatal(err)
	}
	g, err := guest.New(port, guest.Config{MAC: mac, MTU: m.MTU})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { g.Close() })
	if _, err := g.DHCP(soon(r.t)); err != nil {
		r.t.Fatal(err)
	}
	return g
}

// serveGreetings answers in the guest: on TCP to a connection, on UDP to a
// datagram.
func serveGreetings(t testing.TB, g *guest.Guest, port uint16) {
	t.Helper()
	l, err := g.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	pc, err := g.ListenPacket(port)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello by tcp")
			_ = c.Close()
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 100)
		for {
			_, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo([]byte("hello by udp"), from)
		}
	}()
	t.Cleanup(func() {
		_, _ = l.Close(), pc.Close()
		<-done
		<-done
	})
}

// greeting asks at a port of the host.
func greeting(network string, port uint16) (string, error) {
	c, err := net.Dial(network, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if network == "udp" {
		_, _ = c.Write([]byte("?"))
	}
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

func TestForwards(t *testing.T) {
	cfg := config(newDirs(t))
	r := start(t, cfg)
	before := r.census()
	local := netip.MustParseAddr("127.0.0.1")
	free := port.Free(t, 3)
	tcp, udp, all := free[0], free[1], free[2]
	want := []shim.Forward{
		{Protocol: "tcp", HostPort: all, ContainerPort: 80},
		{Protocol: "tcp", HostIP: local, HostPort: tcp, ContainerPort: 80},
		{Protocol: "udp", HostIP: local, HostPort: udp, ContainerPort: 80},
	}
	req := shim.AttachRequest{Forwards: []shim.Forward{
		{Protocol: "UDP", HostIP: local, HostPort: udp, ContainerPort: 80},
		{HostIP: netip.MustParseAddr("::ffff:127.0.0.1"), HostPort: tcp, ContainerPort: 80},
		{Protocol: "TCP", HostPort: all, ContainerPort: 80},
		{Protocol: "tcp", HostPort: all, ContainerPort: 80}, // again
	}}
	if a := r.attach("n", "c", req); !slices.Equal(a.Forwards, want) {
		t.Errorf("forwards %v, want %v", a.Forwards, want)
	}
	serveGreetings(t, r.guest("n", "c"), 80)
	check := func() {
		t.Helper()
		for network, port := range map[string]uint16{"tcp": tcp, "udp": udp, "tcp4": all} {
			if got, err := greeting(network, port); got != "hello by "+network[:3] || err != nil {
				t.Errorf("%s port %d: %q, %v", network, port, got, err)
			}
		}
	}
	check()
	r.attach("n", "c", req) // the same
	conflicts(t, r, tcp, udp)
	check()

	r.stop()
	if _, err := greeting("tcp", tcp); err == nil {
		t.Error("a shim that has ended forwards")
	}
	r = start(t, cfg)
	if a, err := r.Attachment(t.Context(), "n", "c", "eth0"); err != nil || !slices.Equal(a.Forwards, want) {
		t.Errorf("after a restart: %+v, %v", a, err)
	}
	serveGreetings(t, r.guest("n", "c"), 80)
	check()
	if err := r.Detach(t.Context(), "n", "c", "eth0"); err != nil {
		t.Fatal(err)
	}
	if _, err := greeting("tcp", tcp); err == nil {
		t.Error("a deleted attachment forwards")
	}
	r.stop()
	r = start(t, cfg)
	if now := r.census(); now.files != before.files {
		t.Errorf("left behind:\nbefore %+v\nnow    %+v", before, now)
	}
}

// TestForwardTakenMeanwhile has somebody else take the port while no shim runs.
func TestForwardTakenMeanwhile(t *testing.T) {
	cfg := config(newDirs(t))
	r := start(t, cfg)
	local := netip.MustParseAddr("127.0.0.1")
	port := port.Free(t, 1)[0]
	req := shim.AttachRequest{Forwards: []shim.Forward{{HostIP: local, HostPort: port, ContainerPort: 80}}}
	before := r.attach("n", "c", req)
	r.stop()
	l, err := net.Listen("tcp4", netip.AddrPortFrom(local, port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r = start(t, cfg)
	a, err := r.Attachment(t.Context(), "n", "c", "eth0")
	if err != nil || !strings.Contains(a.Problem, before.Forwards[0].String()) || len(a.Forwards) != 0 {
		t.Errorf("attachment %+v, %v: want a problem that names the port", a, err)
	}
	l.Close()
	if a := r.attach("n", "c", req); a.Problem != "" || len(a.Forwards) != 1 || a.IPs[0] != before.IPs[0] {
		t.Errorf("asked again: %+v", a)
	}
	if _, err := greeting("tcp", port); err == nil {
		t.Error("somebody answered, but no guest is there") // accepted, then reset
	}
}

// conflicts has others ask for ports that are taken.
func conflicts(t *testing.T, r *running, tcp, udp uint16) {
	t.Helper()
	before := r.census()
	local := netip.MustParseAddr("127.0.0.1")
	free := port.Free(t, 1)[0]
	for _, f := range []shim.Forward{
		{Protocol: "tcp", HostIP: local, HostPort: tcp, ContainerPort: 1},
		{Protocol: "tcp", HostPort: tcp, ContainerPort: 1},
		{Protocol: "udp", HostIP: local, HostPort: udp, ContainerPort: 1},
	} {
		_, err := r.Attach(t.Context(), "n", "other", "eth0", shim.AttachRequest{Forwards: []shim.Forward{
			{Protocol: "tcp", HostIP: local, HostPort: free, ContainerPort: 1}, f,
		}})
		var e *shim.Error
		if !errors.As(err, &e) || e.Code != shim.CodeConflict || e.Key != "forwards" || e.Value != f.String() ||
			!strings.Contains(e.Message, "is taken: n/c/eth0") {
			t.Errorf("%v: %v, want a conflict that names the port and who has it", f, err)
		}
	}
	r.nothingLeft(before)
	if _, err := greeting("tcp", free); err == nil {
		t.Error("a forward of a refused request is there")
	}
	// One that somebody else on the host has.
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	_, err = r.Attach(t.Context(), "n", "other", "eth0", shim.AttachRequest{Forwards: []shim.Forward{{HostIP: local, HostPort: port, ContainerPort: 1}}})
	if shim.CodeOf(err) != shim.CodeConflict || !strings.Contains(err.Error(), fmt.Sprintf("127.0.0.1:%d", port)) {
		t.Errorf("port of a stranger: %v", err)
	}
}

// bare hides what a driver can do beyond the contract.
type bare struct{ vmnet.Driver }

func (b bare) Open(ctx context.Context, cfg vmnet.NetworkConfig) (vmnet.Network, error) {
	n, err := b.Driver.Open(ctx, cfg)
	return bareNetwork{n}, err
}

type bareNetwork struct{ vmnet.Network }

func (n bareNetwork) Start(ctx context.Context, cfg vmnet.Config) (vmnet.Device, error) {
	d, err := n.Network.Start(ctx, cfg)
	return struct{ vmnet.Device }{d}, err
}

// A driver that cannot says so, and nothing is left; and one that can is asked
// for nothing that cannot be.
func TestCapabilitiesRefused(t *testing.T) {
	cfg := config(newDirs(t))
	cfg.Drivers[shim.DriverVmnet] = bare{cfg.Drivers[shim.DriverNetstack]}
	r := start(t, cfg)
	before := r.census()
	forward := func(f shim.Forward) shim.AttachRequest {
		if f.HostPort == 0 {
			f.HostPort = 8080
		}
		if f.ContainerPort == 0 {
			f.ContainerPort = 80
		}
		return shim.AttachRequest{Forwards: []shim.Forward{f}}
	}
	aliases := func(names ...string) shim.AttachRequest { return shim.AttachRequest{Aliases: names} }
	on := func(driver string, req shim.AttachRequest) shim.AttachRequest {
		req.Network.Driver = driver
		return req
	}
	layer2 := func(req shim.AttachRequest) shim.AttachRequest {
		req.Network.IPAM = shim.IPAMNone
		return req
	}
	twice := forward(shim.Forward{})
	twice.Forwards = append(twice.Forwards, shim.Forward{HostPort: 8080, ContainerPort: 81})
	for _, tt := range []struct {
		name string
		req  shim.AttachRequest
		code shim.Code
		text string
	}{
		{"driver without forwards", on(shim.DriverVmnet, forward(shim.Forward{})), shim.CodeUnsupported, `forwards "tcp *:8080": driver vmnet cannot`},
		{"sctp", forward(shim.Forward{Protocol: "SCTP"}), shim.CodeUnsupported, `forwards[0].protocol "SCTP"`},
		{"protocol", forward(shim.Forward{Protocol: "icmp"}), shim.CodeInvalid, `forwards[0].protocol "icmp"`},
		{"IPv6 to a guest without", shim.AttachRequest{Network: shim.NetworkSpec{IPv6: shim.IPNone}, Forwards: []shim.Forward{{HostIP: netip.IPv6Loopback(), HostPort: 8080, ContainerPort: 80}}},
			shim.CodeUnsupported, `forwards "tcp [::1]:8080": the guest has no address of this IP version`},
		{"address of nobody", forward(shim.Forward{HostIP: netip.MustParseAddr("192.0.2.1")}), shim.CodeInvalid, "the host does not have this address"},
		{"one port to two", twice, shim.CodeInvalid, `forwards "tcp *:8080": leads to ports 80 and 81`},
		{"forward at layer 2", layer2(forward(shim.Forward{})), shim.CodeInvalid, "no address to forward to"},
		{"alias at layer 2", layer2(aliases("web")), shim.CodeInvalid, "no address to name"},
		{"alias of two labels", aliases("a.b"), shim.CodeInvalid, `aliases "a.b"`},
		{"alias too long", aliases(strings.Repeat("x", 64)), shim.CodeInvalid, "DNS labels"},
		{"alias of the gateway", aliases("web", "Gateway"), shim.CodeInvalid, `aliases "Gateway": is a name of the gateway's own`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := r.Attach(t.Context(), "n", "c", "eth0", tt.req)
			if shim.CodeOf(err) != tt.code || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("error %v (%s), want %s with %q", err, shim.CodeOf(err), tt.code, tt.text)
			}
		})
	}
	if a := r.do("PUT", "/v1/networks/n/attachments/c/eth0", `{"forwards":[{"hostPort":70000,"containerPort":1}]}`); a.status != 400 || !strings.Contains(a.body, "forwards[0].hostPort") {
		t.Errorf("port 70000: %d %s", a.status, a.body)
	}
	r.nothingLeft(before)
	// Guests of a driver whose gateway knows no names have those of the relay.
	if a := r.attach("plain", "c", on(shim.DriverVmnet, aliases("web"))); len(a.Names) != 2 || len(a.DNS.Search) != 1 {
		t.Errorf("names %q, search %q of a driver without DNS", a.Names, a.DNS.Search)
	}
}

func TestNames(t *testing.T) {
	cfg := config(newDirs(t))
	r := start(t, cfg)
	before := r.census()
	longID := strings.Repeat("0123456789abcdef", 4)
	web := r.attach("n", "c1", shim.AttachRequest{Aliases: []string{"Web", "www", "web"}, Hostname: "Box.example.org"})
	if want := []string{"box.vm.internal", "web.vm.internal", "www.vm.internal", "c1.vm.internal"}; !slices.Equal(web.Names, want) {
		t.Errorf("names %q, want %q", web.Names, want)
	}
	if web.DNS.Domain != "vm.internal" || !slices.Equal(web.DNS.Search, []string{"vm.internal"}) {
		t.Errorf("dns %+v: want the domain of the network's names", web.DNS)
	}
	second := r.attach("n", longID, shim.AttachRequest{Aliases: []string{"web"}})
	r.attach("n", "no_name.here", shim.AttachRequest{})
	third := r.attach("n", "gateway", shim.AttachRequest{})
	if len(third.Names) != 0 {
		t.Errorf("a container with the gateway's name has names %q", third.Names)
	}
	one, two := web.IPs[0].Address.Addr().String(), second.IPs[0].Address.Addr().String()
	check := func(g *guest.Guest) {
		t.Helper()
		if l := g.Lease(); l.Domain != "vm.internal" || !slices.Equal(l.Search, []string{"vm.internal"}) {
			t.Errorf("DHCP: domain %q, search %q", l.Domain, l.Search)
		}
		for name, want := range map[string]string{
			"box": one, "WWW": one, "c1": one, "web": one + " " + two, "0123456789ab": two,
			"here": "", "no_name": "", "nobody": "", "gateway": "192.168.127.1",
		} {
			wantAddrs(t, g, name, want)
		}
		wantName(t, g, one, "box.vm.internal.")
		wantName(t, g, two, "web.vm.internal.")
		wantName(t, g, "192.168.127.1", "gateway.vm.internal.")
	}
	check(r.guest("n", longID))
	r.stop()
	r = start(t, cfg)
	g := r.guest("n", longID)
	check(g)
	if err := r.Detach(t.Context(), "n", "c1", "eth0"); err != nil {
		t.Fatal(err)
	}
	wantAddrs(t, g, "web", two)
	wantAddrs(t, g, "box", "")
	wantName(t, g, one, "")
	g.Close()
	for _, id := range []string{longID, "no_name.here", "gateway"} {
		if err := r.Detach(t.Context(), "n", id, "eth0"); err != nil {
			t.Fatal(err)
		}
	}
	if now := r.census(); now.files != before.files {
		t.Errorf("left behind:\nbefore %s\nnow    %s", before.files, now.files)
	}
	// A network with a domain of its own, whose guests ask somebody else.
	own := r.attach("own", "c", shim.AttachRequest{Network: shim.NetworkSpec{DNS: shim.DNS{Domain: "lab.test"}}})
	if !slices.Equal(own.Names, []string{"c.lab.test"}) || !slices.Equal(own.DNS.Search, []string{"lab.test"}) {
		t.Errorf("own domain: names %q, search %q", own.Names, own.DNS.Search)
	}
	elsewhere := r.attach("own", "d", shim.AttachRequest{Network: shim.NetworkSpec{DNS: shim.DNS{Domain: "lab.test"}}, DNS: shim.DNS{Nameservers: []string{"9.9.9.9"}}})
	if len(elsewhere.DNS.Search) != 0 {
		t.Errorf("a guest that asks another name server is told to search %q", elsewhere.DNS.Search)
	}
}

// wantAddrs looks a plain name up as a guest with the search domain does.
func wantAddrs(t *testing.T, g *guest.Guest, name, want string) {
	t.Helper()
	addrs, err := g.LookupHost(soon(t), name+"."+g.Lease().Search[0])
	var notFound *net.DNSError
	if errors.As(err, &notFound) && notFound.IsNotFound {
		err = nil
	}
	if got := strings.Trim(fmt.Sprint(addrs), "[]"); got != want || err != nil {
		t.Errorf("%s: %q, %v, want %q", name, got, err, want)
	}
}

// wantName looks up the name of an address.
func wantName(t *testing.T, g *guest.Guest, addr, want string) {
	t.Helper()
	arpa, err := dns.ReverseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	m, err := g.Query(soon(t), "udp", new(dns.Msg).SetQuestion(arpa, dns.TypePTR))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, rr := range m.Answer {
		got += rr.(*dns.PTR).Ptr
	}
	if got != want {
		t.Errorf("name of %s: %q, want %q", addr, got, want)
	}
}

// TestBandwidth has flows of the guest reach the rates that they may have, both
// ways, by both framings.
func TestBandwidth(t *testing.T) {
	const mbit = 1e6
	for _, kind := range []string{shim.FramesDgram, shim.FramesStream} {
		t.Run(kind, func(t *testing.T) {
			r := start(t, config(newDirs(t)))
			want := shim.Bandwidth{IngressRate: 8 * mbit, EgressRate: 4 * mbit, EgressBurst: mbit / 4}
			asked := want
			asked.IngressBurst = shim.UnlimitedBurst
			req := shim.AttachRequest{Frames: kind, Bandwidth: asked, Network: shim.NetworkSpec{HostLoopback: true}}
			if a := r.attach("n", "c", req); a.Bandwidth != want {
				t.Errorf("bandwidth %+v, want %+v", a.Bandwidth, want)
			}
			g := r.guest("n", "c")
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			to := fmt.Sprintf("192.168.127.254:%d", l.Addr().(*net.TCPAddr).Port)
			flow := func(fromGuest bool, rate float64) float64 {
				t.Helper()
				c, err := g.DialContext(soon(t), "tcp", to)
				if err != nil {
					t.Fatal(err)
				}
				h, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				from, into := h, c
				if fromGuest {
					from, into = c, h
				}
				defer from.Close()
				go func() { _, _ = guest.Drain(into) }()
				got, err := guest.Send(soon(t), from, int64(2*rate/8))
				if err != nil {
					t.Fatal(err)
				}
				return got.BitsPerSecond() / rate
			}
			// That no flow is faster than its rate is the limiter's promise. How close
			// it comes is the machine's affair too: a low rate, a wide lower bound, and
			// one flow within patience is enough. 0.85 to 0.98 was seen on a busy machine.
			const least, most = 0.5, 1.05
			check := func(fromGuest bool, rate float64) {
				t.Helper()
				best := 0.0
				for end := time.Now().Add(patience); best < least && time.Now().Before(end); {
					best = max(best, flow(fromGuest, rate))
				}
				if t.Logf("from guest %v: %.3f of %.0f Mbit/s", fromGuest, best, rate/mbit); best < least || best > most {
					t.Errorf("from guest %v: %.3f of the rate", fromGuest, best)
				}
			}
			check(true, 4*mbit)
			check(false, 8*mbit)
			a, err := r.Attachment(t.Context(), "n", "c", "eth0")
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("drops from the guest %v, to the guest %v", a.Counters.FromGuest.Drops, a.Counters.ToGuest.Drops)
		})
	}
}
