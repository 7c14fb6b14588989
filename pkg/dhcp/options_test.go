package dhcp_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/vmnet-cni/vmnet/pkg/dhcp"
)

// TestOptions has each option on the wire, byte by byte.
func TestOptions(t *testing.T) {
	search := "\x02vm\x08internal\x00\x07example\x03org\x00"
	routes := []byte{16, 10, 1, 192, 168, 127, 9, 32, 169, 254, 169, 254, 0, 0, 0, 0, 0, 192, 168, 127, 1}
	for code, want := range map[uint8][]byte{
		1: {255, 255, 255, 0}, 3: gateway, 6: {192, 168, 127, 1, 1, 1, 1, 1},
		12: []byte("guest"), 15: []byte("vm.internal"), 26: {1400 >> 8, 1400 & 255}, 28: {192, 168, 127, 255},
		51: {0, 0, 0x0e, 0x10}, 53: {2}, 54: gateway, 58: {0, 0, 0x07, 0x08}, 59: {0, 0, 0x0c, 0x4e},
		119: []byte(search), 121: routes, 249: nil,
	} {
		got := send(t, newResponder(t, fullConfig()), message(dhcpv4.MessageTypeDiscover).frame())
		if v := got.msg.Options.Get(dhcpv4.GenericOptionCode(code)); !bytes.Equal(v, want) {
			t.Errorf("option %d: % x, want % x", code, v, want)
		}
	}
	got := send(t, newResponder(t, fullConfig()), message(dhcpv4.MessageTypeDiscover, option(55, 249)).frame())
	if v := got.msg.Options.Get(dhcpv4.GenericOptionCode(249)); !bytes.Equal(v, routes) {
		t.Errorf("option 249: % x, want % x", v, routes)
	}
}

// options lists the codes of a reply to a DISCOVER that asks for them.
func options(t *testing.T, cfg dhcp.Config, prl ...byte) string {
	t.Helper()
	got := send(t, newResponder(t, cfg), message(dhcpv4.MessageTypeDiscover, option(55, prl...)).frame())
	var codes []string
	for code := range 255 {
		if got.msg.Options.Has(dhcpv4.GenericOptionCode(uint8(code))) {
			codes = append(codes, fmt.Sprint(code))
		}
	}
	return strings.Join(codes, " ")
}

func TestWhichOptions(t *testing.T) {
	bare := dhcp.Config{Addr: netip.MustParsePrefix("192.168.127.2/24")}
	for _, c := range []struct {
		name string
		cfg  dhcp.Config
		prl  []byte
		want string
	}{
		{"nothing known", bare, []byte{1, 3, 6, 12, 15, 26, 28, 119, 121}, "1 26 28 51 53 54 58 59"},
		{"nothing asked", fullConfig(), []byte{2}, "1 3 6 26 51 53 54 58 59"},
		{"all asked", fullConfig(), []byte{1, 3, 6, 12, 15, 26, 28, 119, 121, 249}, "1 3 6 12 15 26 28 51 53 54 58 59 119 121"},
	} {
		if got := options(t, c.cfg, c.prl...); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestRoom fills the lists and sees what is left out at which size.
func TestRoom(t *testing.T) {
	cfg := fullConfig()
	cfg.Search = nil
	for i := range 20 {
		cfg.Search = append(cfg.Search, fmt.Sprintf("domain%d.example.org", i))
	}
	for i := range 60 {
		cfg.Routes = append(cfg.Routes, dhcp.Route{
			Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16), Gateway: cfg.Gateway,
		})
	}
	for _, c := range []struct {
		max            uint16
		search, routes bool
	}{{0, false, false}, {100, false, false}, {576, false, false}, {1000, false, true}, {1500, true, true}, {9000, true, true}} {
		var mods []dhcpv4.Modifier
		if c.max != 0 {
			mods = append(mods, dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(c.max)))
		}
		got := send(t, newResponder(t, cfg), message(dhcpv4.MessageTypeDiscover, mods...).frame())
		if n, most := len(got.frame)-14, max(int(c.max), 576); n > min(most, cfg.MTU) {
			t.Errorf("max %d: packet of %d bytes", c.max, n)
		}
		if got.msg.Options.Has(dhcpv4.OptionDNSDomainSearchList) != c.search || got.msg.Options.Has(dhcpv4.OptionClasslessStaticRoute) != c.routes {
			t.Errorf("max %d: %s", c.max, got.msg.Summary())
		}
		if got.msg.Router() == nil || got.msg.DNS() == nil || got.msg.IPAddressLeaseTime(0) == 0 {
			t.Errorf("max %d: router, name servers or lease time left out", c.max)
		}
	}
	// The longest client identifier and list of name servers cannot crowd out
	// what makes a lease.
	for len(cfg.DNS) < 16 {
		cfg.DNS = append(cfg.DNS, cfg.Gateway)
	}
	got := send(t, newResponder(t, cfg), message(dhcpv4.MessageTypeDiscover, option(61, make([]byte, 255)...)).frame())
	if len(got.frame)-14 > 576 || got.msg.IPAddressLeaseTime(0) == 0 || got.msg.SubnetMask() == nil {
		t.Errorf("packet of %d bytes: %s", len(got.frame)-14, got.msg.Summary())
	}
}

func TestServerIdentifier(t *testing.T) {
	for _, c := range []struct{ addr, gateway, server, want string }{
		{"192.168.127.2/24", "192.168.127.1", "", "192.168.127.1"},
		{"192.168.127.2/24", "192.168.127.1", "192.168.127.3", "192.168.127.3"},
		{"192.168.127.2/24", "", "", "192.168.127.254"},
		{"192.168.127.254/24", "", "", "192.168.127.1"},
		{"192.168.127.2/31", "", "", "192.168.127.3"},
		{"192.168.127.3/31", "", "", "192.168.127.2"},
		{"192.168.127.2/32", "", "", "192.0.0.8"},
	} {
		cfg := dhcp.Config{Addr: netip.MustParsePrefix(c.addr), GuestMAC: guestMAC}
		cfg.Gateway, _ = netip.ParseAddr(c.gateway)
		cfg.ServerID, _ = netip.ParseAddr(c.server)
		got := send(t, newResponder(t, cfg), message(dhcpv4.MessageTypeDiscover).frame())
		if id := got.msg.ServerIdentifier(); id.String() != c.want || !got.src.Equal(id) {
			t.Errorf("%+v: server %v from %v", c, id, got.src)
		}
		if bytes.Equal(got.srcMAC, guestMAC) || got.srcMAC[0]&3 != 2 {
			t.Errorf("%+v: server's MAC %v", c, got.srcMAC)
		}
	}
}

func TestUpdate(t *testing.T) {
	cfg := fullConfig()
	r := newResponder(t, cfg)
	cfg.DNS, cfg.LeaseTime = []netip.Addr{netip.MustParseAddr("9.9.9.9")}, 2*time.Minute
	if err := r.Update(cfg); err != nil {
		t.Fatal(err)
	}
	bad := cfg
	bad.MTU = 1
	if err := r.Update(bad); !errors.Is(err, dhcp.ErrConfig) {
		t.Errorf("Update: %v", err)
	}
	got := send(t, r, message(dhcpv4.MessageTypeRequest, ciaddr(leased)).frame())
	if got.msg.DNS()[0].String() != "9.9.9.9" || got.msg.IPAddressLeaseTime(0) != 2*time.Minute {
		t.Errorf("after Update: %s", got.msg.Summary())
	}
}

func TestConfig(t *testing.T) {
	for text, change := range map[string]func(*dhcp.Config){
		"Addr":             func(c *dhcp.Config) { c.Addr = netip.Prefix{} },
		"fd00::1/64":       func(c *dhcp.Config) { c.Addr = netip.MustParsePrefix("fd00::1/64") },
		"fd00::2":          func(c *dhcp.Config) { c.Gateway = netip.MustParseAddr("fd00::2") },
		"fd00::3":          func(c *dhcp.Config) { c.DNS = []netip.Addr{netip.MustParseAddr("fd00::3")} },
		"DNS":              func(c *dhcp.Config) { c.DNS = make([]netip.Addr, 1) },
		"at most 16":       func(c *dhcp.Config) { c.DNS = make([]netip.Addr, 17) },
		"MTU 70000":        func(c *dhcp.Config) { c.MTU = 70000 },
		"LeaseTime 1ms":    func(c *dhcp.Config) { c.LeaseTime = time.Millisecond },
		"GuestMAC ff":      func(c *dhcp.Config) { c.GuestMAC = allMAC },
		"ServerMAC 52:54:": func(c *dhcp.Config) { c.ServerMAC = guestMAC[:4] },
		`name "a b"`:       func(c *dhcp.Config) { c.Hostname = "a b" },
		`name "a..b"`:      func(c *dhcp.Config) { c.Domain = "a..b" },
		`Search ""`:        func(c *dhcp.Config) { c.Search = []string{""} },
		"33 domains":       func(c *dhcp.Config) { c.Search = make([]string, 33) },
		"name of 254":      func(c *dhcp.Config) { c.Search = []string{strings.Repeat("a.", 127)[:253] + "b"} },
		"Routes: 65":       func(c *dhcp.Config) { c.Routes = make([]dhcp.Route, 65) },
		"route fd00::/8":   func(c *dhcp.Config) { c.Routes = []dhcp.Route{{Dst: netip.MustParsePrefix("fd00::/8")}} },
	} {
		cfg := fullConfig()
		change(&cfg)
		if _, err := dhcp.New(cfg); !errors.Is(err, dhcp.ErrConfig) || !strings.Contains(err.Error(), text) {
			t.Errorf("want an error about %q, got %v", text, err)
		}
	}
}
