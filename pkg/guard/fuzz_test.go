package guard_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/guard"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// seeds are frames of every kind that the guard looks into.
func seeds() [][]byte {
	return [][]byte{
		ether(mine, 0x0806, arp(1, mine, "10.0.0.9", "10.0.0.1")),
		ether(mine, 0x8100, make([]byte, 40)),
		ether(mine, 0x88cc, nil),
		ip4{src: "0.0.0.0", dst: "255.255.255.255", proto: 17, data: udp(68, 67)}.frame(),
		ip4{src: "10.0.0.9", dst: "10.0.0.8", proto: 17, flags: 0x2000, options: []byte{131, 3, 4, 0}, data: udp(67, 68)}.frame(),
		ip4{src: "10.0.0.9", dst: "192.168.0.1", proto: 1, data: []byte{5, 1, 0, 0}}.frame(),
		ip6{src: "::", dst: "ff02::16", next: 0, data: cat(ext(58, 0, 5, 2, 0, 0, 1, 0), []byte{143, 0, 0, 0, 0, 0, 0, 0})}.frame(),
		ip6{src: ourLink, dst: "ff02::1", next: 44, data: cat(fragment(58, 0, true), nd(134, ""))}.frame(),
		ip6{src: ourLink, dst: "ff02::1", next: 51, data: cat(ext(58, 4), make([]byte, 16), nd(137, "fe80::1"))}.frame(),
		ip6{src: "fd00::9", dst: "ff02::1", next: 58, data: nd(136, "fd00::9", link(2, mine)...)}.frame(),
		ip6{src: "fd00::9", dst: "2001:db8::1", next: 43, data: cat(ext(17, 0, 2, 1), udp(547, 546))}.frame(),
	}
}

// Whatever comes: no panic, no allocation that grows with the frames, nothing
// written to the frame, the same answer again, and nothing passes whose headers
// say what the guard forbids.
func FuzzFromGuest(f *testing.F) {
	for _, s := range seeds() {
		for i := range uint8(64) {
			f.Add(s, i)
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte, which uint8) {
		if len(frame) < vmnet.HeaderLen {
			return
		}
		what := vmnet.Guard{MAC: which&1 > 0, IP: which&2 > 0, DHCP: which&4 > 0, RA: which&8 > 0, Addrs: all.Addrs}
		if which&16 > 0 {
			what.Deny = prefixes("192.168.0.0/16", "fd01::/16")
		}
		if which&32 > 0 {
			what.Free = prefixes("fd00::/64")
		}
		g := newGuard(t, what, nil)
		before := bytes.Clone(frame)
		verdict, why := g.FromGuest(frame, nil)
		if again, _ := g.FromGuest(frame, nil); again != verdict {
			t.Errorf("%x: %d, then %d", frame, verdict, again)
		}
		if !bytes.Equal(before, frame) {
			t.Error("the frame was changed")
		}
		if (verdict == relay.Drop) != (why != relay.ReasonNone) || verdict == relay.Taken {
			t.Errorf("verdict %d with reason %s", verdict, why)
		}
		if verdict == relay.Pass {
			mustNot(t, what, frame)
		}
	})
}

// mustNot fails when a frame that passed says what is forbidden, read as simply as
// can be.
func mustNot(t *testing.T, what vmnet.Guard, f []byte) {
	t.Helper()
	if what.MAC && !bytes.Equal(f[6:12], mine) {
		t.Errorf("passed from MAC %x", f[6:12])
	}
	p := f[14:]
	switch {
	case f[12] == 8 && f[13] == 0 && len(p) >= 28:
		src := netip.AddrFrom4([4]byte(p[12:16]))
		if what.IP && !src.IsUnspecified() && !slices.Contains(what.Addrs, src) {
			t.Errorf("passed from %s", src)
		}
		if what.DHCP && p[0] == 0x45 && p[9] == 17 && p[6]&0x1f == 0 && p[7] == 0 && p[22] == 0 && p[23] == 68 {
			t.Error("passed to DHCP clients")
		}
		if dst := p[16:18]; len(what.Deny) > 0 && dst[0] == 192 && dst[1] == 168 {
			t.Error("passed to a denied address")
		}
	case f[12] == 0x86 && f[13] == 0xdd && len(p) >= 48:
		src := netip.AddrFrom16([16]byte(p[8:24]))
		own := slices.Contains(what.Addrs, src) || src.IsUnspecified() || src.IsLinkLocalUnicast() && src != gateway
		if free := len(what.Free) > 0 && what.Free[0].Contains(src); what.IP && !own && !free {
			t.Errorf("passed from %s", src)
		}
		if what.RA && p[6] == 58 && (p[40] == 134 || p[40] == 137) {
			t.Error("passed a router's message")
		}
		if len(what.Deny) > 0 && p[24] == 0xfd && p[25] == 1 {
			t.Error("passed to a denied address")
		}
	case f[12] == 8 && f[13] == 6 && len(p) >= 28:
		if what.MAC && !bytes.Equal(p[8:14], mine) {
			t.Error("passed ARP of another MAC")
		}
	case f[12] == 0x81 && f[13] == 0 && (what.IP || what.DHCP || what.RA):
		t.Error("passed a VLAN tag")
	}
}

// However hard a guest tries, what it can make the claims hold is bounded, and the
// gateway's addresses stay the gateway's.
func FuzzClaims(f *testing.F) {
	f.Add([]byte{1, 2, 3, 0, 255})
	f.Fuzz(func(t *testing.T, steps []byte) {
		claims := guard.NewClaims(gateway)
		what := vmnet.Guard{IP: true, Addrs: addrs("fd00::9"), Free: prefixes("fd00::/64")}
		g := newGuard(t, what, claims)
		for _, s := range steps {
			g.FromGuest(from(mine, netip.AddrFrom16([16]byte{0: 0xfd, 15: s}).String()), nil)
		}
		if n := claims.Len(); n > 1+2+16 {
			t.Errorf("%d claims", n)
		}
		if _, why := g.FromGuest(from(mine, "fe80::1"), nil); why != relay.ReasonGuardIP {
			t.Errorf("from the gateway's address: %s", why)
		}
	})
}
