package guard_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/guard"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

const (
	pass      = relay.ReasonNone
	malformed = relay.ReasonMalformed
)

// A case is a frame and what becomes of it.
type verdict struct {
	name  string
	frame []byte
	want  relay.Reason
}

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

func (v verdict) check(t *testing.T, g *guard.Guard) {
	t.Helper()
	_, why := g.FromGuest(v.frame, nil)
	if why != v.want {
		t.Errorf("%s: %s, want %s", v.name, why, v.want)
	}
	// With padding, as Ethernet has it, nothing is different.
	if _, padded := g.FromGuest(append(v.frame[:len(v.frame):len(v.frame)], make([]byte, 46)...), nil); padded != why && why != malformed && why != relay.ReasonGuardARP {
		t.Errorf("%s: padded %s, want %s", v.name, padded, why)
	}
}

// ourLink is the link-local address of the MAC mine.
const ourLink = "fe80::ff:fe00:9"

func TestGuestsOwnFramesPass(t *testing.T) {
	g := newGuard(t, all, nil)
	group := "ff02::1:ff00:9"
	for _, v := range []verdict{
		{"ARP request", ether(mine, 0x0806, arp(1, mine, "10.0.0.9", "10.0.0.1")), pass},
		{"ARP reply", ether(mine, 0x0806, arp(2, mine, "10.0.0.9", "10.0.0.1")), pass},
		{"ARP probe", ether(mine, 0x0806, arp(1, mine, "0.0.0.0", "10.0.0.9")), pass},
		{"gratuitous ARP", ether(mine, 0x0806, arp(1, mine, "10.0.0.9", "10.0.0.9")), pass},
		{"RARP of QEMU", ether(mine, 0x8035, arp(3, mine, "0.0.0.0", "0.0.0.0")), pass},
		{"DHCP discover", ip4{src: "0.0.0.0", dst: "255.255.255.255", proto: 17, data: udp(68, 67)}.frame(), pass},
		{"DHCP renewal", ip4{src: "10.0.0.9", dst: "10.0.0.1", proto: 17, data: udp(68, 67)}.frame(), pass},
		{"IGMP before an address", ip4{src: "0.0.0.0", dst: "224.0.0.22", proto: 2, data: make([]byte, 16)}.frame(), pass},
		{"IGMP with router alert", ip4{src: "10.0.0.9", dst: "224.0.0.22", proto: 2, options: []byte{148, 4, 0, 0}, data: make([]byte, 16)}.frame(), pass},
		{"TCP", ip4{src: "10.0.0.9", dst: "1.1.1.1", proto: 6, data: make([]byte, 20)}.frame(), pass},
		{"DNS", ip4{src: "10.0.0.9", dst: "10.0.0.1", proto: 17, data: udp(5353, 53)}.frame(), pass},
		{"mDNS", ip4{src: "10.0.0.9", dst: "224.0.0.251", proto: 17, data: udp(5353, 5353)}.frame(), pass},
		{"ping", ip4{src: "10.0.0.9", dst: "10.0.0.1", proto: 1, data: []byte{8, 0, 0, 0, 0, 0, 0, 0}}.frame(), pass},
		{"first fragment", ip4{src: "10.0.0.9", dst: "1.1.1.1", proto: 17, flags: 0x2000, data: udp(1000, 2000)}.frame(), pass},
		{"later fragment", ip4{src: "10.0.0.9", dst: "1.1.1.1", proto: 17, flags: 3, data: udp(67, 68)}.frame(), pass},
		{"DAD", ip6{src: "::", dst: group, next: 58, data: nd(135, "fd00::9")}.frame(), pass},
		{"DAD of link-local", ip6{src: "::", dst: group, next: 58, data: nd(135, ourLink)}.frame(), pass},
		{"DAD with nonce", ip6{src: "::", dst: group, next: 58, data: nd(135, ourLink, 14, 1, 1, 2, 3, 4, 5, 6)}.frame(), pass},
		{"RS before an address", ip6{src: "::", dst: "ff02::2", next: 58, data: nd(133, "")}.frame(), pass},
		{"RS", ip6{src: ourLink, dst: "ff02::2", next: 58, data: nd(133, "", link(1, mine)...)}.frame(), pass},
		{"MLDv2 from ::", ip6{src: "::", dst: "ff02::16", next: 0, data: cat(ext(58, 0, 5, 2, 0, 0, 1, 0), []byte{143, 0, 0, 0, 0, 0, 0, 0})}.frame(), pass},
		{"NS", ip6{src: "fd00::9", dst: group, next: 58, data: nd(135, "fd00::1", link(1, mine)...)}.frame(), pass},
		{"NS from a random link-local", ip6{src: "fe80::1234:5678:9abc:def0", dst: group, next: 58, data: nd(135, "fe80::1", link(1, mine)...)}.frame(), pass},
		{"NA", ip6{src: "fd00::9", dst: "ff02::1", next: 58, data: nd(136, "fd00::9", link(2, mine)...)}.frame(), pass},
		{"DHCPv6", ip6{src: ourLink, dst: "ff02::1:2", next: 17, data: udp(546, 547)}.frame(), pass},
		{"TCP over IPv6", ip6{src: "fd00::9", dst: "2001:db8::1", next: 6, data: make([]byte, 20)}.frame(), pass},
		{"ping6", ip6{src: "fd00::9", dst: "fd00::1", next: 58, data: []byte{128, 0, 0, 0, 0, 0, 0, 0}}.frame(), pass},
		{"IPv6 fragment", ip6{src: "fd00::9", dst: "2001:db8::1", next: 44, data: cat(fragment(17, 0, true), udp(1000, 2000))}.frame(), pass},
		{"later IPv6 fragment", ip6{src: "fd00::9", dst: "2001:db8::1", next: 44, data: cat(fragment(58, 8, false), nd(134, ""))}.frame(), pass},
		{"ESP", ip6{src: "fd00::9", dst: "2001:db8::1", next: 50, data: make([]byte, 16)}.frame(), pass},
		{"LLDP", ether(mine, 0x88cc, make([]byte, 20)), pass},
		{"802.3", ether(mine, 38, make([]byte, 38)), pass},
	} {
		v.check(t, g)
	}
}

func TestSpoofedMAC(t *testing.T) {
	g := newGuard(t, all, nil)
	for _, v := range []verdict{
		{"IPv4", ether(theirs, 0x0800, ip4{src: "10.0.0.9", dst: "1.1.1.1", proto: 6, data: make([]byte, 20)}.bytes()), relay.ReasonGuardMAC},
		{"anything", ether(theirs, 0x88cc, make([]byte, 20)), relay.ReasonGuardMAC},
		{"a group", ether([]byte{3, 0, 0, 0, 0, 9}, 0x0806, arp(1, mine, "10.0.0.9", "10.0.0.1")), relay.ReasonGuardMAC},
		{"ARP sender", ether(mine, 0x0806, arp(2, theirs, "10.0.0.9", "10.0.0.1")), relay.ReasonGuardARP},
		{"RARP sender", ether(mine, 0x8035, arp(3, theirs, "0.0.0.0", "0.0.0.0")), relay.ReasonGuardARP},
		{"NS option", ip6{src: "fd00::9", dst: "ff02::1", next: 58, data: nd(135, "fd00::1", link(1, theirs)...)}.frame(), relay.ReasonGuardND},
		{"NA option", ip6{src: "fd00::9", dst: "ff02::1", next: 58, data: nd(136, "fd00::9", link(2, theirs)...)}.frame(), relay.ReasonGuardND},
		{"NA second option", ip6{src: "fd00::9", dst: "ff02::1", next: 58, data: nd(136, "fd00::9", cat(link(14, mine), link(2, theirs))...)}.frame(), relay.ReasonGuardND},
		{"RS option", ip6{src: ourLink, dst: "ff02::2", next: 58, data: nd(133, "", link(1, theirs)...)}.frame(), relay.ReasonGuardND},
	} {
		v.check(t, g)
	}
}

func TestSpoofedIP(t *testing.T) {
	g := newGuard(t, all, nil)
	for _, v := range []verdict{
		{"IPv4", ip4{src: "10.0.0.8", dst: "1.1.1.1", proto: 6, data: make([]byte, 20)}.frame(), relay.ReasonGuardIP},
		{"IPv4 link-local", ip4{src: "169.254.1.1", dst: "1.1.1.1", proto: 6, data: make([]byte, 20)}.frame(), relay.ReasonGuardIP},
		{"IPv4 later fragment", ip4{src: "10.0.0.8", dst: "1.1.1.1", proto: 17, flags: 3, data: udp(1, 2)}.frame(), relay.ReasonGuardIP},
		{"0.0.0.0 TCP", ip4{src: "0.0.0.0", dst: "10.0.0.1", proto: 6, data: make([]byte, 20)}.frame(), relay.ReasonGuardIP},
		{"0.0.0.0 UDP", ip4{src: "0.0.0.0", dst: "10.0.0.1", proto: 17, data: udp(68, 53)}.frame(), relay.ReasonGuardIP},
		{"0.0.0.0 later fragment", ip4{src: "0.0.0.0", dst: "10.0.0.1", proto: 17, flags: 3, data: udp(68, 67)}.frame(), relay.ReasonGuardIP},
		{"ARP", ether(mine, 0x0806, arp(2, mine, "10.0.0.1", "10.0.0.8")), relay.ReasonGuardARP},
		{"ARP for others' protocol", ether(mine, 0x0806, append([]byte{0, 1, 8, 0, 6, 5}, arp(2, mine, "10.0.0.9", "10.0.0.8")[6:]...)), relay.ReasonGuardARP},
		{"ARP cut short", ether(mine, 0x0806, arp(2, mine, "10.0.0.9", "10.0.0.8")[:27]), relay.ReasonGuardARP},
		{"IPv6", ip6{src: "fd00::8", dst: "2001:db8::1", next: 6, data: make([]byte, 20)}.frame(), relay.ReasonGuardIP},
		{"IPv6 group", ip6{src: "ff02::1", dst: "fd00::1", next: 6, data: make([]byte, 20)}.frame(), relay.ReasonGuardIP},
		{"IPv6 mapped", ip6{src: "::ffff:10.0.0.9", dst: "fd00::1", next: 6, data: make([]byte, 20)}.frame(), relay.ReasonGuardIP},
		{":: TCP", ip6{src: "::", dst: "fd00::1", next: 6, data: make([]byte, 20)}.frame(), relay.ReasonGuardIP},
		{":: ping", ip6{src: "::", dst: "fd00::1", next: 58, data: []byte{128, 0, 0, 0}}.frame(), relay.ReasonGuardIP},
		{":: fragment", ip6{src: "::", dst: "fd00::1", next: 44, data: cat(fragment(58, 0, true), nd(135, "fd00::9"))}.frame(), relay.ReasonGuardIP},
		{"gateway's link-local", ip6{src: "fe80::1", dst: "ff02::1", next: 58, data: nd(135, "fd00::1")}.frame(), relay.ReasonGuardIP},
		{"NA for the gateway", ip6{src: ourLink, dst: "ff02::1", next: 58, data: nd(136, "fe80::1", link(2, mine)...)}.frame(), relay.ReasonGuardND},
		{"NA for another", ip6{src: "fd00::9", dst: "ff02::1", next: 58, data: nd(136, "fd00::8")}.frame(), relay.ReasonGuardND},
		{"DAD for another", ip6{src: "::", dst: "ff02::1", next: 58, data: nd(135, "fd00::8")}.frame(), relay.ReasonGuardND},
	} {
		v.check(t, g)
	}
}

func TestServersAndRouters(t *testing.T) {
	g := newGuard(t, all, nil)
	hops := func(n int, next byte, data []byte) []byte { // n destination options
		for range n {
			data = cat(ext(next), data)
			next = 60
		}
		return data
	}
	for _, v := range []verdict{
		{"DHCP offer", ip4{src: "10.0.0.9", dst: "255.255.255.255", proto: 17, data: udp(67, 68)}.frame(), relay.ReasonGuardDHCP},
		{"DHCP offer from elsewhere", ip4{src: "10.0.0.9", dst: "10.0.0.8", proto: 17, data: udp(1000, 68)}.frame(), relay.ReasonGuardDHCP},
		{"DHCP to a relay", ip4{src: "10.0.0.9", dst: "10.0.0.8", proto: 17, data: udp(67, 67)}.frame(), relay.ReasonGuardDHCP},
		{"DHCP offer, fragment", ip4{src: "10.0.0.9", dst: "10.0.0.8", proto: 17, flags: 0x2000, data: udp(67, 68)}.frame(), relay.ReasonGuardDHCP},
		{"DHCP offer behind options", ip4{src: "10.0.0.9", dst: "10.0.0.8", proto: 17, options: []byte{1, 1, 1, 0}, data: udp(67, 68)}.frame(), relay.ReasonGuardDHCP},
		{"DHCPv6 advertise", ip6{src: ourLink, dst: "fe80::5", next: 17, data: udp(547, 546)}.frame(), relay.ReasonGuardDHCP},
		{"DHCPv6 behind options", ip6{src: ourLink, dst: "fe80::5", next: 60, data: hops(1, 17, udp(547, 546))}.frame(), relay.ReasonGuardDHCP},
		{"DHCPv6 in a fragment", ip6{src: ourLink, dst: "fe80::5", next: 44, data: cat(fragment(17, 0, true), udp(547, 546))}.frame(), relay.ReasonGuardDHCP},
		{"RA", ip6{src: ourLink, dst: "ff02::1", next: 58, data: nd(134, "")}.frame(), relay.ReasonGuardRA},
		{"RA behind options", ip6{src: ourLink, dst: "ff02::1", next: 60, data: hops(3, 58, nd(134, ""))}.frame(), relay.ReasonGuardRA},
		{"RA in a fragment", ip6{src: ourLink, dst: "ff02::1", next: 44, data: cat(fragment(58, 0, true), nd(134, ""))}.frame(), relay.ReasonGuardRA},
		{"RA in an atomic fragment", ip6{src: ourLink, dst: "ff02::1", next: 44, data: cat(fragment(58, 0, false), nd(134, ""))}.frame(), relay.ReasonGuardRA},
		{"RA behind authentication", ip6{src: ourLink, dst: "ff02::1", next: 51, data: cat(ext(58, 4), make([]byte, 16), nd(134, ""))}.frame(), relay.ReasonGuardRA},
		{"RA whose chain goes on in a later fragment", ip6{src: ourLink, dst: "ff02::1", next: 44, data: cat(fragment(60, 0, true), ext(58, 1))}.frame(), malformed},
		{"RA behind too many headers", ip6{src: ourLink, dst: "ff02::1", next: 60, data: hops(9, 58, nd(134, ""))}.frame(), malformed},
		{"NS in a fragment", ip6{src: ourLink, dst: "ff02::1", next: 44, data: cat(fragment(58, 0, true), nd(135, "fd00::1"))}.frame(), relay.ReasonGuardND},
		{"redirect", ip6{src: ourLink, dst: "fe80::5", next: 58, data: nd(137, "fe80::5")}.frame(), relay.ReasonGuardRA},
		{"ICMP redirect", ip4{src: "10.0.0.9", dst: "10.0.0.8", proto: 1, data: []byte{5, 1, 0, 0}}.frame(), relay.ReasonGuardRA},
		{"ICMP router advertisement", ip4{src: "10.0.0.9", dst: "224.0.0.1", proto: 1, data: []byte{9, 0, 0, 0}}.frame(), relay.ReasonGuardRA},
		{"VLAN", ether(mine, 0x8100, []byte{0, 0, 0x08, 0}, ip4{src: "10.0.0.9", dst: "10.0.0.8", proto: 6}.bytes()), relay.ReasonGuardVLAN},
		{"QinQ", ether(mine, 0x88a8, make([]byte, 50)), relay.ReasonGuardVLAN},
	} {
		v.check(t, g)
	}
}

func TestMalformed(t *testing.T) {
	g := newGuard(t, all, nil)
	tcp := ip4{src: "10.0.0.9", dst: "10.0.0.8", proto: 6, data: make([]byte, 20)}.frame()
	edit := func(at int, to byte) []byte {
		f := slices.Clone(tcp)
		f[at] = to
		return f
	}
	for _, v := range []verdict{
		{"IPv4 cut short", tcp[:33], malformed},
		{"IPv4 of version 6", edit(14, 0x65), malformed},
		{"IPv4 header too short", edit(14, 0x44), malformed},
		{"IPv4 header beyond the packet", edit(14, 0x4f), malformed},
		{"IPv4 longer than the frame", edit(17, 200)[:54], malformed},
		{"IPv4 shorter than its header", edit(17, 19), malformed},
		{"UDP cut short", ip4{src: "10.0.0.9", dst: "10.0.0.8", proto: 17, data: udp(1, 2)[:7]}.frame(), malformed},
		{"IPv6 cut short", ip6{src: "fd00::9", dst: "fd00::1"}.frame()[:53], malformed},
		{"IPv6 of version 4", edit(12, 0x86), pass}, // type 0x8600: nobody's
		{"extension cut short", ip6{src: "fd00::9", dst: "fd00::1", next: 60, data: ext(6)[:7]}.frame(), malformed},
		{"extension beyond the packet", ip6{src: "fd00::9", dst: "fd00::1", next: 60, data: ext(6, 1)}.frame(), malformed},
		{"ND option of no length", ip6{src: "fd00::9", dst: "fd00::1", next: 58, data: nd(135, "fd00::1", 1, 0, 0, 0, 0, 0, 0, 0)}.frame(), malformed},
		{"ND option beyond the packet", ip6{src: "fd00::9", dst: "fd00::1", next: 58, data: nd(135, "fd00::1", 1, 2, 0, 0, 0, 0, 0, 0)}.frame(), malformed},
		{"NS without target", ip6{src: "fd00::9", dst: "fd00::1", next: 58, data: nd(135, "")}.frame(), malformed},
	} {
		_, why := g.FromGuest(v.frame, nil)
		if why != v.want {
			t.Errorf("%s: %s, want %s", v.name, why, v.want)
		}
	}
}

// Each switch does what it says and nothing else.
func TestSwitches(t *testing.T) {
	frames := map[relay.Reason][]byte{
		relay.ReasonGuardMAC:  ether(theirs, 0x88cc, make([]byte, 20)),
		relay.ReasonGuardIP:   ip4{src: "10.0.0.8", dst: "1.1.1.1", proto: 6, data: make([]byte, 20)}.frame(),
		relay.ReasonGuardDHCP: ip4{src: "10.0.0.9", dst: "255.255.255.255", proto: 17, data: udp(67, 68)}.frame(),
		relay.ReasonGuardRA:   ip6{src: ourLink, dst: "ff02::1", next: 58, data: nd(134, "")}.frame(),
	}
	vlan := ether(mine, 0x8100, make([]byte, 30))
	for i := range 16 {
		what := vmnet.Guard{MAC: i&1 > 0, IP: i&2 > 0, DHCP: i&4 > 0, RA: i&8 > 0, Addrs: all.Addrs}
		on := map[relay.Reason]bool{relay.ReasonGuardMAC: what.MAC, relay.ReasonGuardIP: what.IP, relay.ReasonGuardDHCP: what.DHCP, relay.ReasonGuardRA: what.RA}
		g := newGuard(t, what, nil)
		for why, f := range frames {
			want := pass
			if on[why] {
				want = why
			}
			verdict{fmt.Sprintf("%+v: frame for %s", what, why), f, want}.check(t, g)
		}
		want := pass
		if i > 1 {
			want = relay.ReasonGuardVLAN
		}
		verdict{fmt.Sprintf("%+v: VLAN", what), vlan, want}.check(t, g)
	}
}

// A family of which no address is known is not checked.
func TestUnknownAddresses(t *testing.T) {
	v4, v6 := ip4{src: "10.0.0.8", dst: "1.1.1.1", proto: 6, data: make([]byte, 20)}.frame(), ip6{src: "fd00::8", dst: "fd00::1", next: 6, data: make([]byte, 20)}.frame()
	link := ip6{src: "fe80::1", dst: "ff02::1", next: 58, data: nd(135, "fd00::1")}.frame()
	for _, tt := range []struct {
		addrs      []string
		want, also relay.Reason
	}{
		{nil, pass, pass}, {[]string{"10.0.0.9"}, relay.ReasonGuardIP, pass}, {[]string{"fd00::9"}, pass, relay.ReasonGuardIP},
		{[]string{"10.0.0.9", "fd00::9"}, relay.ReasonGuardIP, relay.ReasonGuardIP},
	} {
		g := newGuard(t, vmnet.Guard{IP: true, Addrs: addrs(tt.addrs...)}, nil)
		verdict{fmt.Sprint("IPv4 with ", tt.addrs), v4, tt.want}.check(t, g)
		verdict{fmt.Sprint("IPv6 with ", tt.addrs), v6, tt.also}.check(t, g)
		verdict{"gateway's link-local", link, relay.ReasonGuardIP}.check(t, g)
	}
}

func TestConfig(t *testing.T) {
	if _, err := guard.New(all, guard.Config{}); err == nil {
		t.Error("no MAC: want an error")
	}
}
