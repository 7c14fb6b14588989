package namestage_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/vmnet-cni/vmnet/internal/names"
	"github.com/vmnet-cni/vmnet/internal/namestage"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

var (
	gateway  = netip.MustParseAddr("192.168.127.1")
	gateway6 = netip.MustParseAddr("fd00:127::1")
	guest    = netip.MustParseAddr("192.168.127.2")
	guest6   = netip.MustParseAddr("fd00:127::2")
)

func newStage(t testing.TB) *namestage.Stage {
	t.Helper()
	table := names.New("vm.internal", netip.MustParsePrefix("192.168.127.0/24"), netip.MustParsePrefix("fd00:127::/64"))
	if err := table.Set("c/eth0", []string{"web"}, []netip.Addr{guest, guest6}); err != nil {
		t.Fatal(err)
	}
	return namestage.New(table, gateway, gateway6, netip.Addr{})
}

// query returns the frame of a query to the server's port.
func query(t testing.TB, name string, qtype uint16, src, dst netip.Addr, port uint16) []byte {
	t.Helper()
	msg, err := new(dns.Msg).SetQuestion(name, qtype).Pack()
	if err != nil {
		t.Fatal(err)
	}
	udp := binary.BigEndian.AppendUint16(nil, 4711)
	udp = binary.BigEndian.AppendUint16(udp, port)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(msg)))
	udp = append(append(udp, 0, 0), msg...)
	f := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	if src.Is4() {
		f = append(f, 8, 0, 0x45, 0)
		f = binary.BigEndian.AppendUint16(f, uint16(20+len(udp)))
		f = append(f, 0, 1, 0x40, 0, 64, 17, 0, 0)
	} else {
		f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0)
		f = binary.BigEndian.AppendUint16(f, uint16(len(udp)))
		f = append(f, 17, 64)
	}
	f = append(append(f, src.AsSlice()...), dst.AsSlice()...)
	return append(append(f, udp...), make([]byte, max(0, 60-len(f)-len(udp)))...)
}

func TestStage(t *testing.T) {
	s := newStage(t)
	for _, c := range []struct {
		what     string
		frame    []byte
		answered bool
		rcode    int
		answers  int
	}{
		{"A", query(t, "WEB.vm.internal.", dns.TypeA, guest, gateway, 53), true, dns.RcodeSuccess, 1},
		{"AAAA over IPv6", query(t, "web.vm.internal.", dns.TypeAAAA, guest6, gateway6, 53), true, dns.RcodeSuccess, 1},
		{"PTR", query(t, "2.127.168.192.in-addr.arpa.", dns.TypePTR, guest, gateway, 53), true, dns.RcodeSuccess, 1},
		{"nobody", query(t, "nobody.vm.internal.", dns.TypeA, guest, gateway, 53), true, dns.RcodeNameError, 0},
		{"other name", query(t, "example.org.", dns.TypeA, guest, gateway, 53), false, 0, 0},
		{"other server", query(t, "web.vm.internal.", dns.TypeA, guest, netip.MustParseAddr("9.9.9.9"), 53), false, 0, 0},
		{"other port", query(t, "web.vm.internal.", dns.TypeA, guest, gateway, 5353), false, 0, 0},
	} {
		var out [][]byte
		verdict, _ := s.FromGuest(c.frame, func(f []byte) { out = append(out, f) })
		if (verdict == relay.Taken) != c.answered || (len(out) == 1) != c.answered {
			t.Errorf("%s: verdict %v, %d frames", c.what, verdict, len(out))
			continue
		}
		if !c.answered {
			continue
		}
		m := sound(t, out[0])
		if m.Rcode != c.rcode || len(m.Answer) != c.answers || !m.Authoritative {
			t.Errorf("%s: %s", c.what, m)
		}
	}
	if n := s.Answered(); n != 4 {
		t.Errorf("%d answered, want 4", n)
	}
}

// sound checks the headers and checksums of an answer, and returns its message.
func sound(t testing.TB, f []byte) *dns.Msg {
	t.Helper()
	head := 34
	pseudo := f[26:34]
	if f[12] == 0x86 {
		head, pseudo = 54, f[22:54]
	} else if sum(f[14:34], 0) != 0xffff {
		t.Error("wrong checksum of the IPv4 header")
	}
	udp := f[head:]
	if sum(udp, uint32(sum(pseudo, uint32(17+len(udp))))) != 0xffff || int(binary.BigEndian.Uint16(udp[4:])) != len(udp) {
		t.Errorf("wrong UDP header % x", udp[:8])
	}
	if binary.BigEndian.Uint16(udp) != 53 || binary.BigEndian.Uint16(udp[2:]) != 4711 {
		t.Errorf("ports % x", udp[:4])
	}
	m := new(dns.Msg)
	if err := m.Unpack(udp[8:]); err != nil {
		t.Fatal(err)
	}
	return m
}

func sum(b []byte, s uint32) uint16 {
	for i, c := range b {
		s += uint32(c) << (8 * ((i + 1) % 2))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func FuzzStage(f *testing.F) {
	for _, src := range []netip.Addr{guest, guest6} {
		dst := gateway
		if src.Is6() {
			dst = gateway6
		}
		q := query(f, "web.vm.internal.", dns.TypeA, src, dst, 53)
		f.Add(q)
		f.Add(q[:40])
	}
	s := newStage(f)
	f.Fuzz(func(t *testing.T, frame []byte) {
		verdict, _ := s.FromGuest(frame, func(out []byte) {
			if len(out) > 1294 {
				t.Errorf("answer of %d bytes", len(out))
			}
		})
		if verdict != relay.Taken && verdict != relay.Pass {
			t.Errorf("verdict %v", verdict)
		}
	})
}
