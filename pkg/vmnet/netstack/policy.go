package netstack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// accept is the Reason of a packet that is not refused.
const accept = numReasons

// A policy says which packets from guests the gateway's stack gets to see. It is
// a pure function of the packet. Its own fields are for IPv4.
type policy struct {
	subnet    netip.Prefix
	broadcast netip.Addr
	gateway   netip.Addr
	loopback  netip.Addr // where the host's loopback is; zero: nowhere
	outside   bool       // a shared network: guests reach the outside
	six       policy6
}

func newPolicy(info vmnet.NetworkInfo) policy {
	return policy{
		subnet:    info.Subnet,
		broadcast: vmnet.LastAddr(info.Subnet).Next(),
		gateway:   info.Gateway,
		loopback:  info.HostLoopbackAddr,
		outside:   info.Mode == vmnet.Shared,
		six:       newPolicy6(info),
	}
}

// check returns the IPv4 packet without the Ethernet padding behind it, and
// accept or why it is refused. group says that its frame was sent to a group.
func (p *policy) check(b []byte, group bool) ([]byte, Reason) {
	if len(b) < header.IPv4MinimumSize || b[0]>>4 != 4 {
		return nil, Malformed
	}
	hlen, total := int(b[0]&0x0f)*4, int(binary.BigEndian.Uint16(b[2:4]))
	if hlen < header.IPv4MinimumSize || total < hlen || total > len(b) {
		return nil, Malformed
	}
	b = b[:total]
	src := netip.AddrFrom4([4]byte(b[12:16]))
	dst := netip.AddrFrom4([4]byte(b[16:20]))
	// RFC 1122, 3.2.2 and RFC 1812, 5.3.5: what came to a group, or goes to one,
	// is neither forwarded nor answered with an error.
	if group || dst.IsMulticast() || dst == p.broadcast || dst == broadcastAddr {
		return nil, NotForwarded
	}
	if !p.guestAddr(src) {
		return nil, BadSourceIP
	}
	if p.ours(dst) {
		return b, accept
	}
	switch {
	case p.subnet.Contains(dst):
		return b, NoSuchHost
	case forbidden(dst):
		return b, Prohibited
	case !p.outside:
		return b, HostOnly
	case b[8] <= 1:
		return b, TTLExceeded
	}
	return b, accept
}

// ours reports whether a is an address of the gateway itself.
func (p *policy) ours(a netip.Addr) bool {
	return a == p.gateway || p.loopback.IsValid() && a == p.loopback
}

// guestAddr reports whether a guest may have the address a.
func (p *policy) guestAddr(a netip.Addr) bool {
	return p.subnet.Contains(a) && a != p.subnet.Addr() && a != p.broadcast && !p.ours(a)
}

// arpForUs reports whether the ARP packet b asks for, or answers to, an address
// of the gateway, from an address that a guest may have. The stack must not see
// others: it would answer for every address there is.
func (p *policy) arpForUs(b []byte) bool {
	if len(b) < header.ARPSize {
		return false
	}
	a := header.ARP(b[:header.ARPSize])
	if !a.IsValid() {
		return false
	}
	sender := netip.AddrFrom4([4]byte(a.ProtocolAddressSender()))
	target := netip.AddrFrom4([4]byte(a.ProtocolAddressTarget()))
	// A probe has no sender address (RFC 5227, 2.1.1); it must be answered so
	// that a guest does not take the gateway's address.
	probe := a.Op() == header.ARPRequest && sender == netip.IPv4Unspecified()
	return p.ours(target) && (probe || p.guestAddr(sender))
}

var broadcastAddr = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// forbidden reports whether a is in a block that no guest reaches through the
// host, whatever the host's routes: "this network", loopback, link-local (with
// the metadata services of clouds), multicast, reserved (RFC 6890).
func forbidden(a netip.Addr) bool {
	b := a.As4()
	return b[0] == 0 || b[0] == 127 || b[0] == 169 && b[1] == 254 || b[0] >= 224
}
