package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path"
	"slices"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/guest"
	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// bin holds the programs, built once for all tests.
var bin string

func TestMain(m *testing.M) {
	dir, remove, err := e2e.Build(race, "github.com/vmnet-cni/vmnet/conformance/guest/cmd/vmnet-guest",
		"github.com/vmnet-cni/vmnet/examples/handover")
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	bin = dir
	leak.Main(m, remove)
}

// kept are the files that may outlive the last attachment, as patterns.
var kept = []string{"run/shim.lock", "run/keeper.json", "state/lock", "state/leases.db", "state/networks/*.json", "state/shim.log"}

// empty checks that the shim, if it runs, has no attachment, and that no file is
// left but those that are kept. What another process removes may be there a moment
// longer: the keeper's notify socket goes when the keeper has heard of the shim, the
// shim's answers do not wait for that.
func empty(t testing.TB, m *e2e.Machine) {
	t.Helper()
	ctx := soon(t)
	var left []string
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if left = leftovers(ctx, m); len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			break
		}
	}
	for _, l := range left {
		t.Errorf("%s left", l)
	}
}

// leftovers lists attachments and files that should be gone when a test has ended.
func leftovers(ctx context.Context, m *e2e.Machine) (left []string) {
	if s, err := m.Client.Status(ctx); err == nil && s.Attachments != 0 {
		left = append(left, fmt.Sprintf("%d attachments are", s.Attachments))
	}
	files, err := m.Files()
	if err != nil {
		left = append(left, fmt.Sprintf("files cannot be listed: %v: what is", err))
	}
	for _, f := range files {
		known := func(pattern string) bool { ok, _ := path.Match(pattern, f); return ok }
		if f != "run/shim.sock" && !slices.ContainsFunc(kept, known) {
			left = append(left, f+" is")
		}
	}
	return left
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// first returns address and gateway of a result.
func first(t testing.TB, r *types100.Result) (addr netip.Prefix, gw netip.Addr) {
	t.Helper()
	if len(r.IPs) < 1 || len(r.Interfaces) < 1 {
		t.Fatalf("result %+v, want an address and an interface", r)
	}
	ones, _ := r.IPs[0].Address.Mask.Size()
	a, _ := netip.AddrFromSlice(r.IPs[0].Address.IP.To4())
	gw, _ = netip.AddrFromSlice(r.IPs[0].Gateway.To4())
	return netip.PrefixFrom(a, ones), gw
}

func subnetOf(t testing.TB, r *types100.Result) netip.Prefix {
	addr, _ := first(t, r)
	return addr.Masked()
}

// A way is how a guest comes to its frames.
type way struct {
	name   string
	frames string // of the configuration
	take   func(t testing.TB, m *e2e.Machine, id string) (relay.Port, *types100.Result)
}

// ways are push and path, datagrams and stream.
func ways() []way {
	return []way{
		{"push dgram", "dgram", push}, {"push stream", "stream", push},
		{"path dgram", "dgram", dial("dgram")}, {"path stream", "stream", dial("stream")},
		// The other kind's socket is always there too.
		{"path stream beside", "dgram", dial("stream")}, {"path dgram beside", "stream", dial("dgram")},
	}
}

func push(t testing.TB, m *e2e.Machine, id string) (relay.Port, *types100.Result) {
	t.Helper()
	p, err := m.AddPush(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	port, err := guest.OpenPort(p.File, p.Message.MaxFrameSize)
	if err != nil {
		t.Fatal(err)
	}
	if i := p.Result.Interfaces[0]; i.Mac != p.Message.MAC || i.Mtu != p.Message.MTU || i.Sandbox != p.NetNS {
		t.Errorf("result %+v, pushed %+v", i, p.Message)
	}
	return port, p.Result
}

func dial(kind string) func(testing.TB, *e2e.Machine, string) (relay.Port, *types100.Result) {
	return func(t testing.TB, m *e2e.Machine, id string) (relay.Port, *types100.Result) {
		t.Helper()
		r, err := m.Add(soon(t), id, "vm://"+id)
		if err != nil {
			t.Fatal(err)
		}
		return reach(t, m, id, kind), r
	}
}

// reach connects to a socket of an attachment.
func reach(t testing.TB, m *e2e.Machine, id, kind string) relay.Port {
	t.Helper()
	a, err := m.Client.Attachment(soon(t), m.Network(), id, e2e.IfName)
	if err != nil {
		t.Fatal(err)
	}
	socket := a.DgramSocketPath
	if kind == "stream" {
		socket = a.StreamSocketPath
	}
	port, remove, err := guest.DialPort(socket, kind, a.MaxFrameSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	return port
}

// servers4 returns the result's name servers of IPv4, which are those that DHCPv4
// tells.
func servers4(r *types100.Result) (list []string) {
	for _, s := range r.DNS.Nameservers {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
			list = append(list, s)
		}
	}
	return list
}

// newGuest puts a guest on a port and lets it get its address, which must be that
// of the result.
func newGuest(t testing.TB, port relay.Port, r *types100.Result) *guest.Guest {
	t.Helper()
	mac, err := net.ParseMAC(r.Interfaces[0].Mac)
	if err != nil {
		t.Fatal(err)
	}
	g, err := guest.New(port, guest.Config{MAC: mac, MTU: r.Interfaces[0].Mtu})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	l, err := g.DHCP(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	addr, gw := first(t, r)
	if len(r.Routes) == 0 {
		gw = netip.Addr{} // a host network leads nowhere
	}
	if l.Address != addr || l.Router != gw || l.MTU != r.Interfaces[0].Mtu || fmt.Sprint(l.DNS) != fmt.Sprint(servers4(r)) {
		t.Errorf("lease %s %s mtu %d dns %v; the result says %s %s mtu %d dns %v",
			l.Address, l.Router, l.MTU, l.DNS, addr, gw, r.Interfaces[0].Mtu, r.DNS.Nameservers)
	}
	return g
}

// detach ends a guest and its attachment.
func detach(t testing.TB, m *e2e.Machine, id string, g *guest.Guest) {
	t.Helper()
	if g != nil {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := m.Del(soon(t), id, "vm://"+id); err != nil {
		t.Error(err)
	}
}

// fetch fetches a page from a guest.
func fetch(t testing.TB, g *guest.Guest, addr netip.AddrPort) string {
	t.Helper()
	req, err := http.NewRequestWithContext(soon(t), http.MethodGet, "http://"+addr.String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := g.HTTPClient().Do(req)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}
