package netstack

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// FuzzDNS takes arbitrary bytes as a guest's query and as a resolver's reply.
func FuzzDNS(f *testing.F) {
	for _, q := range []string{"gateway.vm.internal.", "1.127.168.192.in-addr.arpa.", "example.com.", ".", "vm.internal.",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.2.1.0.0.0.d.f.ip6.arpa."} {
		m := new(dns.Msg).SetQuestion(q, dns.TypeA)
		m.SetEdns0(1232, true)
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	subnet := netip.MustParsePrefix("192.168.127.0/24")
	d := &dnsServer{g: &gateway{count: new(counters)}, names: newNames("vm.internal", subnet, netip.MustParsePrefix("fd00:127::/64"))}
	if err := d.names.reserve("gateway", netip.MustParseAddr("192.168.127.1")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		question := new(dns.Msg).SetQuestion("example.com.", dns.TypeA)
		answers(b, question)
		reply := d.answer(b, false)
		if reply == nil {
			return
		}
		m := new(dns.Msg)
		if err := m.Unpack(reply); err != nil {
			t.Fatalf("the reply % x cannot be read: %v", reply, err)
		}
		if !m.Response || len(b) < 2 || m.Id != uint16(b[0])<<8|uint16(b[1]) {
			t.Fatalf("not a reply to % x: %s", b, m)
		}
	})
}

func TestNames(t *testing.T) {
	n := newNames("VM.internal", netip.MustParsePrefix("192.168.127.0/24"))
	gateway, one, two := netip.MustParseAddr("192.168.127.1"), netip.MustParseAddr("192.168.127.2"), netip.MustParseAddr("192.168.127.3")
	if err := n.reserve("gateway", gateway); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key   string
		names []string
		a     netip.Addr
		want  error
	}{
		{"c1", []string{"old"}, two, nil},
		{"c1", []string{"web", "WEB", "www"}, one, nil}, // takes the place of the first
		{"c2", []string{"db", "web"}, two, nil},
		{"c3", nil, one, nil},
		{"c4", []string{"ok", ""}, one, vmnet.InvalidArgument},
		{"c4", []string{"a.b"}, one, vmnet.InvalidArgument},
		{"c4", []string{strings.Repeat("x", 64)}, one, vmnet.InvalidArgument},
		{"c4", []string{"Gateway"}, one, vmnet.InvalidArgument},
		{"c4", []string{"host"}, one, vmnet.InvalidArgument},
		{"c4", []string{"v6"}, netip.MustParseAddr("fd00::1"), errors.ErrUnsupported},
		{"c4", []string{"none"}, netip.Addr{}, errors.ErrUnsupported},
	} {
		if err := n.set(c.key, c.names, []netip.Addr{c.a}); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: set %q %s: %v, want %v", c.key, c.names, c.a, err, c.want)
		}
	}
	check := func(name, addrs, ptr string) {
		t.Helper()
		got, gotPTR, ok := n.lookup(name)
		if text := fmt.Sprint(got); text != addrs || gotPTR != ptr || ok != (addrs != "[]" || ptr != "") {
			t.Errorf("%s: %s %q %v, want %s %q", name, text, gotPTR, ok, addrs, ptr)
		}
	}
	check("web.vm.internal.", "[192.168.127.2 192.168.127.3]", "")
	check("www.vm.internal.", "[192.168.127.2]", "")
	check("db.vm.internal.", "[192.168.127.3]", "")
	check("old.vm.internal.", "[]", "")
	check("ok.vm.internal.", "[]", "")
	check("2.127.168.192.in-addr.arpa.", "[]", "web.vm.internal.")
	check("3.127.168.192.in-addr.arpa.", "[]", "db.vm.internal.")
	if err := n.set("c1", []string{"web", "www"}, []netip.Addr{one}); err != nil { // comes after c2 now
		t.Error(err)
	}
	check("web.vm.internal.", "[192.168.127.2 192.168.127.3]", "")
	n.remove("c1")
	n.remove("c1")
	check("web.vm.internal.", "[192.168.127.3]", "")
	check("www.vm.internal.", "[]", "")
	check("2.127.168.192.in-addr.arpa.", "[]", "")
	n.remove("c2")
	n.remove("c3")
	n.remove("gateway")
	check("gateway.vm.internal.", "[192.168.127.1]", "")
	if len(n.owners) != 1 || len(n.forward) != 1 || len(n.reverse) != 1 {
		t.Errorf("left: %v %v %v", n.owners, n.forward, n.reverse)
	}
	for name, want := range map[string]bool{
		"vm.internal.": true, "x.y.vm.internal.": true, "vm.internal.com.": false, "internal.": false,
		"9.127.168.192.in-addr.arpa.": true, "9.128.168.192.in-addr.arpa.": false,
		"127.168.192.in-addr.arpa.": false, "256.127.168.192.in-addr.arpa.": false, "x.127.168.192.in-addr.arpa.": false,
	} {
		if got := n.owns(name); got != want {
			t.Errorf("owns %s: %v, want %v", name, got, want)
		}
	}
}
