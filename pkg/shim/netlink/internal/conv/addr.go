package conv

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
)

// Addr returns the address that a message tells of, false for one that is not of
// IP. As on Linux, an IPv4 address has its interface's name as its label, and on a
// point-to-point link its peer.
func Addr(m *bsd.AddrMsg, ifname string, p2p bool) (netlink.Addr, bool) {
	bits := m.Ifa.IP.BitLen()
	if m.Mask.Set {
		bits = m.Mask.Bits
	}
	n := netOf(m.Ifa, bits)
	if n == nil {
		return netlink.Addr{}, false
	}
	a := netlink.Addr{
		IPNet: n, LinkIndex: int(m.Index), Flags: flagPermIP, Scope: scopeOf(m.Ifa.IP),
		ValidLft: lifeForever, PreferedLft: lifeForever,
	}
	if m.Ifa.IP.Is4() {
		a.Label = ifname
	}
	switch {
	case !m.Brd.IP.IsValid() || m.Brd.IP == m.Ifa.IP:
	case p2p:
		a.Peer = netOf(m.Brd, m.Brd.IP.BitLen())
	case m.Ifa.IP.Is4():
		a.Broadcast = ipOf(m.Brd.IP)
	}
	return a, true
}

// scopeOf returns Linux's scope of an address.
func scopeOf(a netip.Addr) int {
	switch {
	case a.IsLoopback():
		return scopeHost
	case a.IsLinkLocalUnicast():
		return scopeLink
	}
	return scopeUniverse
}

// An Alias is an address to be set on an interface.
type Alias struct {
	Prefix           netip.Prefix // the address and the length of its net
	Other            netip.Addr   // broadcast, or the peer
	Valid, Preferred uint32       // seconds, 0 for ever; IPv6 alone
}

// NewAlias returns what addr asks for. As upstream does, the broadcast address of
// an IPv4 net of at least 4 addresses is computed where none is given.
func NewAlias(addr *netlink.Addr, p2p bool) (Alias, error) {
	if addr == nil || addr.IPNet == nil {
		return Alias{}, fmt.Errorf("address: none given")
	}
	p, ok := prefixOf(addr.IPNet)
	if !ok {
		return Alias{}, fmt.Errorf("address %v: want an IP address and the mask of its length", addr.IPNet)
	}
	if addr.ValidLft < 0 || addr.PreferedLft < 0 {
		return Alias{}, fmt.Errorf("address %v: lifetimes %d and %d: want none below 0", p, addr.ValidLft, addr.PreferedLft)
	}
	a := Alias{Prefix: p, Valid: seconds(addr.ValidLft), Preferred: seconds(addr.PreferedLft)}
	switch {
	case addr.Peer != nil:
		a.Other = addrOf(addr.Peer.IP)
		if !p2p || a.Other.Is4() != p.Addr().Is4() {
			return Alias{}, fmt.Errorf("address %v: peer %v: want one of the same family on a point-to-point link", p, addr.Peer)
		}
	case p2p, p.Addr().Is6():
	case addr.Broadcast != nil:
		a.Other = addrOf(addr.Broadcast)
	case p.Bits() <= 30:
		a.Other = lastOf(p)
	}
	return a, nil
}

func seconds(n int) uint32 {
	if n >= lifeForever {
		return 0
	}
	return uint32(n)
}

// lastOf returns the last address of an IPv4 net.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}
