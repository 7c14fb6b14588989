package netstack

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// FuzzDNS takes arbitrary bytes as a guest's query and as a resolver's reply.
func FuzzDNS(f *testing.F) {
	for _, q := range []string{"gateway.vm.internal.", "1.127.168.192.in-addr.arpa.", "example.com.", ".", "vm.internal."} {
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
	d := &dnsServer{g: &gateway{count: new(counters)}, names: newNames("vm.internal", subnet)}
	if err := d.names.Set("gateway", netip.MustParseAddr("192.168.127.1")); err != nil {
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
	one, two := netip.MustParseAddr("192.168.127.2"), netip.MustParseAddr("192.168.127.3")
	for _, c := range []struct {
		name string
		a    netip.Addr
		ok   bool
	}{
		{"web", one, true},
		{"WEB", two, true}, // the same name
		{"db", two, true},  // takes the address from it
		{"", one, false},
		{"a.b", one, false}, // not a single label
		{"v6", netip.MustParseAddr("fd00::1"), false},
	} {
		if err := n.Set(c.name, c.a); (err == nil) != c.ok {
			t.Errorf("set %q %s: %v", c.name, c.a, err)
		}
	}
	if _, _, ok := n.lookup("web.vm.internal."); ok {
		t.Error("web still has an address that is db's")
	}
	if a, _, ok := n.lookup("db.vm.internal."); !ok || a != two {
		t.Errorf("db: %s, %v", a, ok)
	}
	if _, ptr, ok := n.lookup("3.127.168.192.in-addr.arpa."); !ok || ptr != "db.vm.internal." {
		t.Errorf("reverse of %s: %q, %v", two, ptr, ok)
	}
	if _, _, ok := n.lookup("2.127.168.192.in-addr.arpa."); ok {
		t.Errorf("%s still has a name", one)
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
