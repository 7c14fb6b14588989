package dhcp_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/vmnet-cni/vmnet/pkg/dhcp"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// TestFourMessages is SOLICIT, ADVERTISE, REQUEST, REPLY.
func TestFourMessages(t *testing.T) {
	r := newResponder6(t, fullConfig6())
	for _, c := range []struct {
		ask  *dhcpv6.Message
		want dhcpv6.MessageType
	}{
		{message6(dhcpv6.MessageTypeSolicit, false), dhcpv6.MessageTypeAdvertise},
		{message6(dhcpv6.MessageTypeRequest, true, leased6), dhcpv6.MessageTypeReply},
		{message6(dhcpv6.MessageTypeRequest, true, wrong6), dhcpv6.MessageTypeReply},
		{message6(dhcpv6.MessageTypeRenew, true, leased6), dhcpv6.MessageTypeReply},
		{message6(dhcpv6.MessageTypeRebind, false, leased6), dhcpv6.MessageTypeReply},
	} {
		got := ask(t, r, c.ask)
		if got == nil || got.MessageType != c.want {
			t.Fatalf("%s: %v, want %s", c.ask.MessageType, got, c.want)
		}
		if id := got.Options.ClientID(); id == nil || !bytes.Equal(id.ToBytes(), guestDUID.ToBytes()) {
			t.Errorf("%s: client ID %v, want it as it came", c.ask.MessageType, id)
		}
		ia := got.Options.OneIANA()
		if ia == nil || ia.IaId != [4]byte{9, 8, 7, 6} || len(ia.Options.Addresses()) == 0 {
			t.Fatalf("%s: association %v", c.ask.MessageType, ia)
		}
		a := ia.Options.Addresses()[0]
		if a.IPv6Addr.String() != leased6.String() || a.ValidLifetime != time.Hour || ia.T1 != 30*time.Minute {
			t.Errorf("%s: %v, T1 %v, want %s for an hour", c.ask.MessageType, a, ia.T1, leased6)
		}
		dns, search := got.Options.DNS(), got.Options.DomainSearchList()
		if len(dns) != 2 || dns[0].String() != "fd00:127::1" || search == nil || len(search.Labels) != 2 || search.Labels[1] != "example.org" {
			t.Errorf("%s: DNS %v, search %v", c.ask.MessageType, dns, search)
		}
	}
}

func TestRapidCommit(t *testing.T) {
	m := message6(dhcpv6.MessageTypeSolicit, false)
	m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
	got := ask(t, newResponder6(t, fullConfig6()), m)
	if got == nil || got.MessageType != dhcpv6.MessageTypeReply || got.GetOneOption(dhcpv6.OptionRapidCommit) == nil {
		t.Fatalf("%v, want a REPLY with rapid commit", got)
	}
}

// TestWrongAddressEnds: a client that comes with another machine's lease loses it.
func TestWrongAddressEnds(t *testing.T) {
	r := newResponder6(t, fullConfig6())
	got := ask(t, r, message6(dhcpv6.MessageTypeRebind, false, wrong6))
	addrs := got.Options.OneIANA().Options.Addresses()
	if len(addrs) != 2 || addrs[1].IPv6Addr.String() != wrong6.String() || addrs[1].ValidLifetime != 0 {
		t.Errorf("REBIND of %s: %v, want an end to it", wrong6, addrs)
	}
	for a, want := range map[netip.Addr]iana.StatusCode{leased6: iana.StatusSuccess, wrong6: iana.StatusNotOnLink} {
		got := ask(t, r, message6(dhcpv6.MessageTypeConfirm, false, a))
		if got == nil || got.Options.Status() == nil || got.Options.Status().StatusCode != want {
			t.Errorf("CONFIRM of %s: %v, want %s", a, got, want)
		}
	}
}

// TestAssociations: only one gets the address, prefixes and temporary addresses
// are refused.
func TestAssociations(t *testing.T) {
	m := message6(dhcpv6.MessageTypeRequest, true)
	second := &dhcpv6.OptIANA{IaId: [4]byte{2}}
	second.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: leased6.AsSlice()})
	m.AddOption(second)
	m.AddOption(&dhcpv6.OptIAPD{IaId: [4]byte{3}})
	m.AddOption(&dhcpv6.OptIATA{IaId: [4]byte{4}})
	got := ask(t, newResponder6(t, fullConfig6()), m)
	ias := got.Options.IANA()
	if len(ias) != 2 || ias[0].Options.Status().StatusCode != iana.StatusNoAddrsAvail || len(ias[1].Options.Addresses()) != 1 {
		t.Errorf("associations %v, want the address in the one that names it", ias)
	}
	if pd := got.Options.OneIAPD(); pd == nil || pd.Options.Status().StatusCode != iana.StatusNoPrefixAvail {
		t.Errorf("prefix delegation %v", pd)
	}
	if ta := got.Options.OneIATA(); ta == nil || ta.Options.Status().StatusCode != iana.StatusNoAddrsAvail {
		t.Errorf("temporary address %v", ta)
	}
}

func TestOtherMessages(t *testing.T) {
	var declined []dhcp.Decline
	cfg := fullConfig6()
	cfg.OnDecline = func(d dhcp.Decline) { declined = append(declined, d) }
	r := newResponder6(t, cfg)
	info := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeInformationRequest}
	if got := ask(t, r, info); got == nil || len(got.Options.DNS()) != 2 || got.Options.OneIANA() != nil {
		t.Errorf("INFORMATION-REQUEST: %v, want name servers only", got)
	}
	for _, typ := range []dhcpv6.MessageType{dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline} {
		got := ask(t, r, message6(typ, true, leased6))
		if got == nil || got.Options.Status() == nil || got.Options.Status().StatusCode != iana.StatusSuccess {
			t.Errorf("%s: %v, want success", typ, got)
		}
	}
	if len(declined) != 1 || declined[0].Addr != leased6 {
		t.Errorf("declined %v", declined)
	}
	anonymous := message6(dhcpv6.MessageTypeSolicit, false)
	anonymous.Options.Del(dhcpv6.OptionClientID)
	other := message6(dhcpv6.MessageTypeRequest, false, leased6)
	other.AddOption(dhcpv6.OptServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: otherMAC}))
	for name, m := range map[string]*dhcpv6.Message{
		"SOLICIT without client ID": anonymous, "REQUEST to another server": other,
		"REQUEST without server":             message6(dhcpv6.MessageTypeRequest, false, leased6),
		"SOLICIT to a server":                message6(dhcpv6.MessageTypeSolicit, true),
		"CONFIRM without addresses":          message6(dhcpv6.MessageTypeConfirm, false),
		"INFORMATION-REQUEST for an address": message6(dhcpv6.MessageTypeInformationRequest, false),
		"ADVERTISE":                          message6(dhcpv6.MessageTypeAdvertise, true),
		"RENEW without server":               message6(dhcpv6.MessageTypeRenew, false, leased6),
	} {
		if got := ask(t, r, m); got != nil {
			t.Errorf("%s: answered with %s", name, got.Summary())
		}
	}
	if s := r.Stats(); s.Ignored != 8 || s.Releases != 1 || s.Declines != 1 || s.Informs != 1 {
		t.Errorf("counted %+v", s)
	}
}

// solicitation is a router solicitation with the guest's link-layer address.
func solicitation(src netip.Addr) []byte {
	m := []byte{133, 0, 0, 0, 0, 0, 0, 0}
	if !src.IsUnspecified() {
		m = append(append(m, 1, 1), guestMAC...)
	}
	return packet6(src, netip.MustParseAddr("ff02::2"), 58, 255, m)
}

// ndOptions reads the options of an advertisement by their type.
func ndOptions(t *testing.T, ra []byte) map[byte][]byte {
	t.Helper()
	opts := map[byte][]byte{}
	for b := ra[16:]; len(b) > 0; b = b[int(b[1])*8:] {
		if len(b) < 8 || b[1] == 0 || int(b[1])*8 > len(b) {
			t.Fatalf("options % x", ra[16:])
		}
		opts[b[0]] = b[:int(b[1])*8]
	}
	return opts
}

func TestAdvertisement(t *testing.T) {
	for _, slaac := range []bool{false, true} {
		cfg := fullConfig6()
		cfg.SLAAC = slaac
		res := send6(t, newResponder6(t, cfg), solicitation(guestLL))
		if res.verdict != relay.Taken || len(res.adverts) != 1 || res.dst != guestLL {
			t.Fatalf("verdict %v, %d advertisements to %s", res.verdict, len(res.adverts), res.dst)
		}
		ra := res.adverts[0]
		flags, prefixFlags := byte(0xc0), byte(0x80)
		if slaac {
			flags, prefixFlags = 0x40, 0xc0
		}
		if ra[0] != 134 || ra[5] != flags || binary.BigEndian.Uint16(ra[6:]) != 0xffff {
			t.Errorf("slaac %v: advertisement % x", slaac, ra[:16])
		}
		o := ndOptions(t, ra)
		if !bytes.Equal(o[1][2:], serverMAC) || binary.BigEndian.Uint32(o[5][4:]) != 1400 {
			t.Errorf("link-layer address % x, MTU % x", o[1], o[5])
		}
		want := netip.MustParseAddr("fd00:127::").As16()
		if p := o[3]; p[2] != 64 || p[3] != prefixFlags || !bytes.Equal(p[16:], want[:]) {
			t.Errorf("slaac %v: prefix % x", slaac, p)
		}
		if d := o[25]; len(d) != 8+32 || !bytes.Equal(d[8:24], cfg.DNS[0].AsSlice()) {
			t.Errorf("name servers % x", d)
		}
		if l := o[31]; !bytes.HasPrefix(l[8:], []byte("\x02vm\x08internal\x00\x07example\x03org\x00")) {
			t.Errorf("search list % x", l)
		}
	}
	cfg := fullConfig6()
	cfg.Router, cfg.DNS, cfg.Search = false, nil, nil
	res := send6(t, newResponder6(t, cfg), solicitation(netip.IPv6Unspecified()))
	if len(res.adverts) != 1 || res.dst.String() != "ff02::1" || res.dstMAC.String() != "33:33:00:00:00:01" {
		t.Fatalf("%d advertisements to %s at %s, want one to all nodes", len(res.adverts), res.dst, res.dstMAC)
	}
	if ra := res.adverts[0]; ra[6] != 0 || ra[7] != 0 || len(ndOptions(t, ra)) != 3 {
		t.Errorf("without router and names: % x", ra)
	}
}

// TestRepeat: the first sign of life brings an advertisement, others soon after
// do not, and what shows life passes.
func TestRepeat(t *testing.T) {
	r := newResponder6(t, fullConfig6())
	ns := packet6(guestLL, netip.MustParseAddr("ff02::1:ff00:1"), 58, 255, make([]byte, 24))
	ns[54] = 135
	arp := make([]byte, 42)
	arp[12], arp[13] = 8, 6
	for i, f := range [][]byte{ns, arp, ns} {
		res := send6(t, r, f)
		if res.verdict != relay.Pass || len(res.adverts) != 1-min(i, 1) {
			t.Errorf("frame %d: verdict %v, %d advertisements", i, res.verdict, len(res.adverts))
		}
	}
}

// TestFrames6 is which frames are taken, dropped and passed.
func TestFrames6(t *testing.T) {
	r := newResponder6(t, fullConfig6())
	send6(t, r, solicitation(guestLL))
	good := message6(dhcpv6.MessageTypeSolicit, false).ToBytes()
	hop := func(next byte, part []byte) []byte { return append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, part...) }
	short := dhcpFrame6(message6(dhcpv6.MessageTypeSolicit, false))
	cases := map[string]struct {
		frame []byte
		want  relay.Verdict
	}{
		"SOLICIT":                    {short, relay.Taken},
		"SOLICIT with padding":       {append(bytes.Clone(short), 0, 0, 0), relay.Taken},
		"SOLICIT behind hop-by-hop":  {packet6(guestLL, allDHCP, 0, 1, hop(17, udp6(547, good))), relay.Taken},
		"SOLICIT cut":                {short[:len(short)-5], relay.Drop},
		"SOLICIT from nowhere":       {packet6(netip.IPv6Unspecified(), allDHCP, 17, 1, udp6(547, good)), relay.Drop},
		"noise to port 547":          {packet6(guestLL, allDHCP, 17, 1, udp6(547, []byte{1})), relay.Drop},
		"to port 546":                {packet6(guestLL, guestLL, 17, 1, udp6(546, good)), relay.Pass},
		"TCP":                        {packet6(guestLL, guestLL, 6, 64, make([]byte, 20)), relay.Pass},
		"router advertisement":       {packet6(guestLL, allDHCP, 58, 255, append([]byte{134}, make([]byte, 15)...)), relay.Pass},
		"solicitation from afar":     {packet6(guestLL, allDHCP, 58, 64, []byte{133, 0, 0, 0, 0, 0, 0, 0}), relay.Drop},
		"solicitation too short":     {packet6(guestLL, allDHCP, 58, 255, []byte{133, 0, 0, 0}), relay.Drop},
		"solicitation, empty option": {packet6(guestLL, allDHCP, 58, 255, append([]byte{133, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 8)...)), relay.Drop},
		"IPv4":                       {append([]byte{12: 8, 13: 0}, make([]byte, 40)...), relay.Pass},
		"header only":                {short[:14], relay.Pass},
	}
	for name, c := range cases {
		if got := send6(t, r, c.frame).verdict; got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestBadConfig6(t *testing.T) {
	for name, change := range map[string]func(*dhcp.ConfigV6){
		"no address": func(c *dhcp.ConfigV6) { c.Addr = netip.Prefix{} },
		"IPv4":       func(c *dhcp.ConfigV6) { c.Addr = netip.MustParsePrefix("192.0.2.1/24") },
		"length":     func(c *dhcp.ConfigV6) { c.Addr = netip.MustParsePrefix("fd00::1/65") },
		"DNS":        func(c *dhcp.ConfigV6) { c.DNS = []netip.Addr{netip.MustParseAddr("1.1.1.1")} },
		"MTU":        func(c *dhcp.ConfigV6) { c.MTU = 1000 },
		"server":     func(c *dhcp.ConfigV6) { c.Server = leased6 },
		"group MAC":  func(c *dhcp.ConfigV6) { c.ServerMAC = allMAC },
		"search":     func(c *dhcp.ConfigV6) { c.Search = []string{"a..b"} },
		"lease time": func(c *dhcp.ConfigV6) { c.LeaseTime = time.Millisecond },
		"no domain":  func(c *dhcp.ConfigV6) { c.Search = []string{"."} },
	} {
		cfg := fullConfig6()
		change(&cfg)
		if _, err := dhcp.NewV6(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestEUI64(t *testing.T) {
	if a := dhcp.LinkLocal(guestMAC); a.String() != "fe80::5054:ff:fe12:3456" {
		t.Errorf("link-local address %s", a)
	}
	if a := dhcp.EUI64(netip.MustParsePrefix("fd00::/56"), guestMAC); a.IsValid() {
		t.Errorf("address %s in a /56", a)
	}
}
