package vmnet_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func TestProtocolText(t *testing.T) {
	for text, want := range map[string]vmnet.Protocol{
		"tcp": vmnet.TCP, "TCP": vmnet.TCP, "udp": vmnet.UDP, "Icmp": vmnet.ICMP, "6": vmnet.TCP, "0": 0, "132": 132, "255": 255,
	} {
		var p vmnet.Protocol
		if err := p.UnmarshalText([]byte(text)); err != nil || p != want {
			t.Errorf("%q is %v, %v, want %v", text, p, err, want)
		}
	}
	for _, text := range []string{"", "256", "-1", "sctp", "6 ", "1e1", "0x6"} {
		p := vmnet.UDP
		if err := p.UnmarshalText([]byte(text)); err == nil || p != vmnet.UDP {
			t.Errorf("%q is %v, want an error and no change", text, p)
		} else if !strings.Contains(err.Error(), "tcp, udp") {
			t.Errorf("%q: %q does not tell what would be right", text, err)
		}
	}
	in := `{"P":"udp","Q":"132"}`
	var v struct{ P, Q vmnet.Protocol }
	if err := json.Unmarshal([]byte(in), &v); err != nil {
		t.Fatal(err)
	}
	if out, err := json.Marshal(v); err != nil || string(out) != in {
		t.Errorf("%s comes back as %s, %v", in, out, err)
	}
}

func TestForwardString(t *testing.T) {
	inside := netip.MustParseAddrPort("192.168.127.2:80")
	for want, f := range map[string]vmnet.Forward{
		"tcp *:8080 -> 192.168.127.2:80":       {Protocol: vmnet.TCP, External: netip.AddrPortFrom(netip.Addr{}, 8080), Internal: inside},
		"udp 127.0.0.1:53 -> 192.168.127.2:80": {Protocol: vmnet.UDP, External: netip.MustParseAddrPort("127.0.0.1:53"), Internal: inside},
		"132 [::1]:9 -> 192.168.127.2:80":      {Protocol: 132, External: netip.MustParseAddrPort("[::1]:9"), Internal: inside},
	} {
		if f.String() != want {
			t.Errorf("%q, want %q", f, want)
		}
	}
}

func FuzzProtocol(f *testing.F) {
	for _, s := range []string{"tcp", "UDP", "icmp", "132", "256", "-0", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var p, again vmnet.Protocol
		if p.UnmarshalText([]byte(s)) != nil {
			return
		}
		text, err := p.MarshalText()
		if err == nil {
			err = again.UnmarshalText(text)
		}
		if err != nil || again != p {
			t.Fatalf("%q is %v, comes back from %q as %v, %v", s, p, text, again, err)
		}
	})
}
