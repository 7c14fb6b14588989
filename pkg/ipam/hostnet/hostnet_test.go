package hostnet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const routes4 = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0100A8C0	0003	0	0	100	00000000	0	0	0
tun0	00000000	00000000	0001	0	0	0	00000080	0	0	0
eth0	0000A8C0	00000000	0001	0	0	100	00FFFFFF	0	0	0
br0	007FA8C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
wg0	0000000A	00000000	0001	0	0	0	000000FF	0	0	0
eth0	07A8C000	00000000	0005	0	0	0	FFFFFFFF	0	0	0
`

const routes6 = `fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000002 00000000 00000003     eth0
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000003 00000000 80200001       lo
`

func TestParse(t *testing.T) {
	four, err := parseRoutes4(strings.NewReader(routes4))
	want := "[0.0.0.0/0 0.0.0.0/1 192.168.0.0/24 192.168.127.0/24 10.0.0.0/8 0.192.168.7/32]"
	if err != nil || fmt.Sprint(four) != want {
		t.Errorf("got %v, %v, want %s", four, err, want)
	}
	six, err := parseRoutes6(strings.NewReader(routes6))
	if want := "[fd00::/64 ::/0 ::1/128]"; err != nil || fmt.Sprint(six) != want {
		t.Errorf("got %v, %v, want %s", six, err, want)
	}
	var inUse []netip.Prefix
	for _, p := range append(four, six...) {
		inUse = add(inUse, p)
	}
	if want := "[192.168.0.0/24 192.168.127.0/24 10.0.0.0/8 0.192.168.7/32 fd00::/64]"; fmt.Sprint(inUse) != want {
		t.Errorf("in use %v, want %s", inUse, want)
	}
}

func TestParseBad(t *testing.T) {
	for _, line := range []string{
		"eth0 0", "eth0 x 0 0 0 0 0 0", "eth0 100000000 0 0 0 0 0 0", "eth0 0 0 0 0 0 0 z", "eth0 0 0 0 0 0 0 00FF00FF",
	} {
		if p, err := parseRoutes4(strings.NewReader("head\n" + line + "\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v, %v", line, p, err)
		}
	}
	for _, line := range []string{"0 0", "xx 00 0 0 0 0 0 0 0 lo", strings.Repeat("0", 32) + " 81 0 0 0 0 0 0 0 lo"} {
		if p, err := parseRoutes6(strings.NewReader(line)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v, %v", line, p, err)
		}
	}
}

func TestFromIPNet(t *testing.T) {
	for in, want := range map[*net.IPNet]string{
		{IP: net.IPv4(10, 1, 2, 3), Mask: net.CIDRMask(8, 32)}:          "10.1.2.3/8",
		{IP: net.ParseIP("fd00::1"), Mask: net.CIDRMask(64, 128)}:       "fd00::1/64",
		{IP: net.IPv4(10, 1, 2, 3), Mask: net.IPv4Mask(255, 0, 255, 0)}: "invalid Prefix",
		{IP: net.IPv4(10, 1, 2, 3), Mask: net.CIDRMask(100, 128)}:       "invalid Prefix",
		{IP: nil, Mask: nil}: "invalid Prefix",
	} {
		if got := fromIPNet(in).String(); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
}

// TestInUse reads this host: every address of an interface that is up must be in
// one of the prefixes.
func TestInUse(t *testing.T) {
	got, err := InUse()
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		p := fromIPNet(a.(*net.IPNet))
		if p.Addr().IsLoopback() {
			continue
		}
		if !slices.ContainsFunc(got, func(q netip.Prefix) bool { return q.Contains(p.Addr()) }) {
			t.Errorf("%v is not in use by %v", p, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(routes4)
	f.Add(routes6)
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) ([]netip.Prefix, error){
			func(s string) ([]netip.Prefix, error) { return parseRoutes4(strings.NewReader(s)) },
			func(s string) ([]netip.Prefix, error) { return parseRoutes6(strings.NewReader(s)) },
		} {
			got, err := parse(text)
			for _, p := range got {
				if err != nil || !p.IsValid() {
					t.Errorf("%v, %v", got, err)
				}
			}
		}
	})
}
