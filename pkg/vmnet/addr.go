package vmnet

import (
	"crypto/sha256"
	"net"
	"net/netip"

	"github.com/google/uuid"
)

// MACFromUUID returns the MAC that belongs to an interface's UUID: locally
// administered, unicast (IEEE 802c, section 8.4), the rest from a hash, so that
// the same UUID has the same MAC on every machine.
func MACFromUUID(id uuid.UUID) net.HardwareAddr {
	sum := sha256.Sum256(id[:])
	mac := net.HardwareAddr(append([]byte(nil), sum[:6]...))
	mac[0] = mac[0]&^0x03 | 0x02
	return mac
}

// GatewayMAC returns the MAC of the gateway of the network named name, for
// drivers whose gateway is a program: the same for every run, so that a guest's
// neighbour table stays right when the program restarts.
func GatewayMAC(name string) net.HardwareAddr {
	return MACFromUUID(uuid.NewSHA1(uuid.NameSpaceDNS, []byte("gateway\x00"+name)))
}

// FirstAddr returns the first usable address of the subnet p: the one after the
// network's own. A subnet of one or two addresses has none of its own (RFC 3021,
// RFC 6164), so the first of them is usable. A p that is not valid has none: the
// zero Addr.
func FirstAddr(p netip.Prefix) netip.Addr {
	first := p.Masked().Addr()
	if first.IsValid() && p.Bits() < first.BitLen()-1 {
		return first.Next()
	}
	return first
}

// LastAddr returns the last usable address of the subnet p: for IPv4 the one
// before the broadcast address, which a subnet of one or two addresses does not
// have. A p that is not valid has none: the zero Addr.
func LastAddr(p netip.Prefix) netip.Addr {
	if !p.IsValid() {
		return netip.Addr{}
	}
	a := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(a)*8; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(a)
	if last.Is4() && p.Bits() < 31 {
		return last.Prev()
	}
	return last
}
