// Package conv turns messages of macOS (package bsd) into the types of
// github.com/vishvananda/netlink, and back. It is pure, so that it is built and
// tested on every system. Address families in its values are macOS's; other
// numbers of the types (scopes, tables, kinds of routes, states of neighbours) are
// Linux's, which is what users of those types compare them with.
package conv

import (
	"net"
	"net/netip"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
)

// Linux's numbers, from linux/rtnetlink.h, linux/if_addr.h and linux/neighbour.h.
const (
	TableMain  = 254
	TableLocal = 255

	scopeUniverse = 0
	scopeLink     = 253
	scopeHost     = 254

	rtnUnicast     = 1
	rtnLocal       = 2
	rtnBroadcast   = 3
	rtnMulticast   = 5
	rtnBlackhole   = 6
	rtnUnreachable = 7

	protRedirect = 1
	protKernel   = 2
	protStatic   = 4

	flagOnlink  = 0x4  // RTNH_F_ONLINK
	flagPermIP  = 0x80 // IFA_F_PERMANENT
	nudIncomp   = 0x01
	nudReach    = 0x02
	nudPerm     = 0x80
	ntfProxy    = 0x08
	lifeForever = 0xffffffff
)

// ipOf returns the net.IP of an address: 4 or 16 bytes, nil for none.
func ipOf(a netip.Addr) net.IP {
	if !a.IsValid() {
		return nil
	}
	return a.AsSlice()
}

// addrOf returns the address of a net.IP, the zero Addr for none.
func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// netOf returns a net of an address and a mask; nil if it is none.
func netOf(s bsd.Sockaddr, bits int) *net.IPNet {
	if !s.IP.IsValid() || bits < 0 || bits > s.IP.BitLen() {
		return nil
	}
	return &net.IPNet{IP: ipOf(s.IP), Mask: net.CIDRMask(bits, s.IP.BitLen())}
}

// prefixOf returns the prefix of a net, with the address as it is.
func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a := addrOf(n.IP)
	ones, size := n.Mask.Size()
	if size != a.BitLen() {
		return netip.Prefix{}, false
	}
	p := netip.PrefixFrom(a, ones)
	return p, p.IsValid()
}
