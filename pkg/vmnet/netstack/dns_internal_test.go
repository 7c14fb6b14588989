package netstack

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/vmnet-cni/vmnet/internal/names"
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
	d := &dnsServer{g: &gateway{count: new(counters)}, names: names.New("vm.internal", subnet, netip.MustParsePrefix("fd00:127::/64"))}
	if err := d.names.Reserve("gateway", netip.MustParseAddr("192.168.127.1")); err != nil {
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
