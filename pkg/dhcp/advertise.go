package dhcp

import (
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/rfc1035label"
)

// How long what an advertisement says holds, in seconds. The prefix and the name
// servers are the attachment's for as long as it lives; the router's lifetime has
// 16 bits (RFC 8319 lets it have them all).
const (
	routerLifetime = 0xffff
	forever        = 0xffffffff
)

// repeatAfter is how long an advertisement is thought fresh. One is sent again
// with the first sign of life of the guest after that, since hosts ask once, when
// their link comes up, and Linux does not ask again when its router expires.
const repeatAfter = 10 * time.Minute

// Option types of neighbour discovery.
const (
	optSourceLink = 1  // RFC 4861, section 4.6.1
	optPrefix     = 3  // section 4.6.2
	optMTU        = 5  // section 4.6.4
	optRDNSS      = 25 // RFC 8106, section 5.1
	optDNSSL      = 31 // section 5.2
)

var (
	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1} // RFC 2464, section 7
)

// advertisement returns the frame of a router advertisement (RFC 4861, section
// 4.2) to a guest, or to all nodes when dst is unspecified.
func (c *ConfigV6) advertisement(dst netip.Addr, dstMAC net.HardwareAddr) []byte {
	h := header6{srcMAC: c.ServerMAC, dstMAC: dstMAC, src: c.Server, dst: dst, hops: 255}
	if dst.IsUnspecified() || !isStation(dstMAC) {
		h.dst, h.dstMAC = allNodes, allNodesMAC
	}
	return h.icmp(c.advertise())
}

// advertise returns the message without its checksum.
func (c *ConfigV6) advertise() []byte {
	const (
		managed, other     = 0x80, 0x40
		onLink, autonomous = 0x80, 0x40
	)
	m := make([]byte, 16, 256)
	m[0], m[4], m[5] = routerAdvertise, 64, other
	if !c.SLAAC {
		m[5] |= managed
	}
	if c.Router {
		be.PutUint16(m[6:], routerLifetime)
	}
	m = append(m, optSourceLink, 1)
	m = append(m, c.ServerMAC...)
	m = append(m, optMTU, 1, 0, 0)
	m = be.AppendUint32(m, uint32(c.MTU))

	flags := byte(onLink)
	if c.SLAAC {
		flags |= autonomous
	}
	prefix := c.Addr.Masked().Addr().As16()
	m = append(m, optPrefix, 4, 64, flags)
	m = be.AppendUint32(m, forever) // valid
	m = be.AppendUint32(m, forever) // preferred
	m = append(m, 0, 0, 0, 0)
	m = append(m, prefix[:]...)
	return c.appendNames(m)
}

// appendNames adds name servers and search list.
func (c *ConfigV6) appendNames(m []byte) []byte {
	if len(c.DNS) > 0 {
		m = append(m, optRDNSS, byte(1+2*len(c.DNS)), 0, 0)
		m = be.AppendUint32(m, forever)
		for _, a := range c.DNS {
			b := a.As16()
			m = append(m, b[:]...)
		}
	}
	if len(c.Search) == 0 {
		return m
	}
	// Names must not be compressed here (RFC 8106, section 5.2).
	var names []byte
	for _, s := range c.Search {
		names = append(names, (&rfc1035label.Labels{Labels: []string{s}}).ToBytes()...)
	}
	for len(names)%8 != 0 {
		names = append(names, 0)
	}
	// Left out when it does not fit the option, or the smallest MTU.
	if 1+len(names)/8 > 255 || ip6Len+len(m)+8+len(names) > 1280 {
		return m
	}
	m = append(m, optDNSSL, byte(1+len(names)/8), 0, 0)
	m = be.AppendUint32(m, forever)
	return append(m, names...)
}

// soundSolicitation reports whether a router solicitation is one (RFC 4861,
// section 6.1.1). Its checksum is not looked at, as for DHCPv4.
func soundSolicitation(f, m []byte) bool {
	if f[etherLen+7] != 255 || len(m) < 8 || m[1] != 0 {
		return false
	}
	for opts := m[8:]; len(opts) > 0; {
		if len(opts) < 8 || opts[1] == 0 || int(opts[1])*8 > len(opts) {
			return false
		}
		if opts[0] == optSourceLink && source6(f).IsUnspecified() {
			return false
		}
		opts = opts[int(opts[1])*8:]
	}
	return true
}
