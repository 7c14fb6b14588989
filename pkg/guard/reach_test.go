package guard_test

import (
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func TestDestinations(t *testing.T) {
	const no = relay.ReasonGuardDestination
	for _, tt := range []struct {
		name        string
		allow, deny []string
		want        map[string]relay.Reason
	}{
		{"no lists", nil, nil, map[string]relay.Reason{"1.1.1.1": pass, "2001:db8::1": pass}},
		{"allow all", []string{"0.0.0.0/0"}, nil, map[string]relay.Reason{"1.1.1.1": pass, "2001:db8::1": pass, "::ffff:1.1.1.1": pass}},
		{"deny metadata", []string{"0.0.0.0/0"}, []string{"169.254.0.0/16"}, map[string]relay.Reason{
			"1.1.1.1": pass, "169.254.169.254": no, "2001:db8::1": pass, "::ffff:169.254.169.254": no, "10.0.0.1": pass}},
		{"deny only", nil, []string{"192.168.0.0/16", "fd00::/8"}, map[string]relay.Reason{
			"1.1.1.1": pass, "192.168.1.1": no, "fd01::1": no, "fd00::1": pass, "2001:db8::1": pass, "fe80::1": pass, "ff02::1": pass}},
		{"allow only", []string{"192.168.7.0/24"}, nil, map[string]relay.Reason{
			"192.168.7.1": pass, "192.168.8.1": no, "10.0.0.1": pass, "255.255.255.255": pass, "224.0.0.251": no, "2001:db8::1": pass}},
		{"longest decides", []string{"10.1.0.0/16", "10.1.2.3/32"}, []string{"10.1.2.0/24"}, map[string]relay.Reason{
			"10.1.1.1": pass, "10.1.2.1": no, "10.1.2.3": pass, "10.2.0.1": no}},
		{"deny wins a tie", []string{"10.1.0.0/16"}, []string{"10.1.0.0/16"}, map[string]relay.Reason{"10.1.1.1": no}},
		{"the network itself", nil, []string{"0.0.0.0/0", "::/0"}, map[string]relay.Reason{
			"10.0.0.1": pass, "10.0.0.255": pass, "fd00::1": pass, "fd00:0:0:1::1": no, "1.1.1.1": no, "2001:db8::1": no, "ff02::1:ff00:1": pass}},
		{"IPv6 lengths", []string{"2001:db8::/33", "2001:db8:8000::/65"}, []string{"2001:db8:8000::/64"}, map[string]relay.Reason{
			"2001:db8:1::1": pass, "2001:db8:8000::1": pass, "2001:db8:8000:0:8000::1": no, "2001:db8:8001::1": no}},
	} {
		g := newGuard(t, vmnet.Guard{Allow: prefixes(tt.allow...), Deny: prefixes(tt.deny...)}, nil)
		for range 2 { // the second time from memory
			for dst, want := range tt.want {
				f := ip6{src: "fd00::9", dst: dst, next: 6, data: make([]byte, 20)}.frame()
				if addrs(dst)[0].Is4() {
					f = ip4{src: "10.0.0.9", dst: dst, proto: 6, data: make([]byte, 20)}.frame()
				}
				verdict{tt.name + ": to " + dst, f, want}.check(t, g)
			}
		}
	}
}

// Packets that tell their way themselves would go past the lists.
func TestSourceRoutes(t *testing.T) {
	const no = relay.ReasonGuardDestination
	g := newGuard(t, vmnet.Guard{Deny: prefixes("192.168.0.0/16", "fd01::/16")}, nil)
	to := func(options ...byte) []byte {
		return ip4{src: "10.0.0.9", dst: "1.1.1.1", proto: 6, options: options, data: make([]byte, 20)}.frame()
	}
	six := func(header ...byte) []byte {
		return ip6{src: "fd00::9", dst: "2001:db8::1", next: 43, data: cat(ext(6, header...), make([]byte, 20))}.frame()
	}
	for _, v := range []verdict{
		{"loose", to(131, 7, 4, 192, 168, 1, 1, 0), no},
		{"strict behind others", to(1, 148, 4, 0, 0, 137, 3, 4), no},
		{"behind the end", to(0, 131, 3, 4), pass},
		{"router alert", to(148, 4, 0, 0), pass},
		{"option of no length", to(7, 0, 0, 0), no},
		{"option beyond the header", to(7, 9, 0, 0), no},
		{"routing header", six(0, 2, 1), no},
		{"routing header used up", six(0, 2, 0), pass},
	} {
		v.check(t, g)
	}
	verdict{"no lists", to(131, 7, 4, 192, 168, 1, 1, 0), pass}.check(t, newGuard(t, all, nil))
}
