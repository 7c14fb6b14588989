package names

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func TestNames(t *testing.T) {
	n := New("VM.internal", netip.MustParsePrefix("192.168.127.0/24"))
	gateway, one, two := netip.MustParseAddr("192.168.127.1"), netip.MustParseAddr("192.168.127.2"), netip.MustParseAddr("192.168.127.3")
	if err := n.Reserve("gateway", gateway); err != nil {
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
		if err := n.Set(c.key, c.names, []netip.Addr{c.a}); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
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
	if err := n.Set("c1", []string{"web", "www"}, []netip.Addr{one}); err != nil { // comes after c2 now
		t.Error(err)
	}
	check("web.vm.internal.", "[192.168.127.2 192.168.127.3]", "")
	n.Remove("c1")
	n.Remove("c1")
	check("web.vm.internal.", "[192.168.127.3]", "")
	check("www.vm.internal.", "[]", "")
	check("2.127.168.192.in-addr.arpa.", "[]", "")
	n.Remove("c2")
	n.Remove("c3")
	n.Remove("gateway")
	check("gateway.vm.internal.", "[192.168.127.1]", "")
	if len(n.owners) != 1 || len(n.forward) != 1 || len(n.reverse) != 1 {
		t.Errorf("left: %v %v %v", n.owners, n.forward, n.reverse)
	}
	for name, want := range map[string]bool{
		"vm.internal.": true, "x.y.vm.internal.": true, "vm.internal.com.": false, "internal.": false,
		"9.127.168.192.in-addr.arpa.": true, "9.128.168.192.in-addr.arpa.": false,
		"127.168.192.in-addr.arpa.": false, "256.127.168.192.in-addr.arpa.": false, "x.127.168.192.in-addr.arpa.": false,
	} {
		if got := n.Owns(name); got != want {
			t.Errorf("owns %s: %v, want %v", name, got, want)
		}
	}
}
