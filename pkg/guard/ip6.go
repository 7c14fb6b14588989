package guard

import (
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// Of IPv6 and what it carries.
const (
	ip6Len = 40

	nextHopByHop    = 0
	nextRouting     = 43
	nextFragment    = 44
	nextAuth        = 51
	nextDestination = 60
	// maxHeaders bounds the extension headers of a packet. RFC 8200, section 4.1,
	// has each at most once, destination options twice.
	maxHeaders = 8

	dhcp6Server = 547
	dhcp6Client = 546

	mldReport       = 131
	mldDone         = 132
	routerSolicit   = 133 // RFC 4861, section 4.1
	routerAdvertise = 134
	neighborSolicit = 135
	neighborAdvert  = 136
	redirect        = 137
	mld2Report      = 143

	optionSource = 1 // source link-layer address
	optionTarget = 2 // target link-layer address
)

// A chain is what follows the extension headers of a packet.
type chain struct {
	proto    byte
	rest     []byte
	fragment bool // the packet is cut
	later    bool // and this is not its first part: rest is data
	routed   bool // it goes on from its destination
}

// follow walks over extension headers. It is false for a chain that cannot be read.
func follow(proto byte, rest []byte) (c chain, ok bool) {
	c = chain{proto: proto, rest: rest}
	for range maxHeaders {
		size := 8
		switch c.proto {
		case nextHopByHop, nextDestination, nextRouting:
			if len(c.rest) >= 8 {
				size = 8 + int(c.rest[1])*8
				c.routed = c.routed || c.proto == nextRouting && c.rest[3] > 0
			}
		case nextAuth: // RFC 4302, section 2.2
			if len(c.rest) >= 8 {
				size = 8 + int(c.rest[1])*4
			}
		case nextFragment:
			if len(c.rest) >= 8 {
				where := be.Uint16(c.rest[2:])
				c.fragment = c.fragment || where&0xfff9 != 0
				c.later = c.later || where&0xfff8 != 0
			}
		default:
			return c, true
		}
		if len(c.rest) < size {
			return c, false
		}
		c.proto, c.rest = c.rest[0], c.rest[size:]
		if c.later {
			return c, true
		}
	}
	return c, false
}

// ip6 judges an IPv6 packet, behind which there may be padding.
func (g *Guard) ip6(p []byte) relay.Reason {
	if len(p) < ip6Len || p[0]>>4 != 6 {
		return relay.ReasonMalformed
	}
	rest := p[ip6Len:]
	if n := int(be.Uint16(p[4:])); n > len(rest) {
		return relay.ReasonMalformed
	} else if n > 0 { // 0: a segment of more than 64 KiB (RFC 2675)
		rest = rest[:n]
	}
	c, ok := follow(p[6], rest)
	if !ok {
		return relay.ReasonMalformed
	}
	src, dst := readAddr(p[8:]), readAddr(p[24:])
	if g.check && !g.source6(src, &c) {
		return relay.ReasonGuardIP
	}
	if !c.later {
		if why := g.message6(src, &c); why != relay.ReasonNone {
			return why
		}
	}
	switch mapped := dst.hi == 0 && dst.lo>>32 == 0xffff; {
	case mapped && (g.reach4 != nil || g.reach6 != nil),
		g.reach6 != nil && (c.routed || !g.reach6.may(dst)):
		return relay.ReasonGuardDestination
	}
	return relay.ReasonNone
}

// source6 reports whether the guest may send from the address.
func (g *Guard) source6(src addr6, c *chain) bool {
	switch {
	case src == addr6{}:
		return c.proto == protoICMP6 && !c.fragment && len(c.rest) > 0 && unbound6(c.rest[0])
	case !g.check6 && !src.linkLocal():
		return true
	}
	return g.own6.has(src)
}

// unbound6 reports whether a host without an address sends such messages: RFC
// 4861 and 4862, and RFC 3590 for the reports.
func unbound6(kind byte) bool {
	switch kind {
	case mldReport, mldDone, mld2Report, routerSolicit, neighborSolicit:
		return true
	}
	return false
}

// message6 judges what servers, routers and neighbours send.
func (g *Guard) message6(src addr6, c *chain) relay.Reason {
	switch c.proto {
	case protoUDP:
		if len(c.rest) < udpLen {
			return relay.ReasonMalformed
		}
		if g.dhcp && (be.Uint16(c.rest) == dhcp6Server || be.Uint16(c.rest[2:]) == dhcp6Client) {
			return relay.ReasonGuardDHCP
		}
	case protoICMP6:
		if len(c.rest) == 0 {
			return relay.ReasonMalformed
		}
		if kind := c.rest[0]; kind >= routerSolicit && kind <= redirect {
			return g.discovery(src, c)
		}
	}
	return relay.ReasonNone
}

// discovery judges a message of neighbour discovery.
func (g *Guard) discovery(src addr6, c *chain) relay.Reason {
	msg := c.rest
	kind, options := msg[0], 24
	switch kind {
	case routerAdvertise, redirect:
		if g.ra {
			return relay.ReasonGuardRA
		}
		if options = 16; kind == redirect {
			return relay.ReasonNone // it is about others
		}
	case routerSolicit:
		options = 8
	}
	switch {
	case c.fragment:
		return relay.ReasonGuardND // RFC 6980, section 5
	case len(msg) < options:
		return relay.ReasonMalformed
	}
	about := kind == neighborAdvert || kind == neighborSolicit && src == addr6{} // what it says it has, or will
	if about && g.check {
		target := readAddr(msg[8:])
		if (g.check6 || target.linkLocal()) && !g.own6.has(target) {
			return relay.ReasonGuardND
		}
	}
	if g.mac {
		return g.hardwareOptions(msg[options:])
	}
	return relay.ReasonNone
}

// hardwareOptions judges the link-layer addresses that a message tells.
func (g *Guard) hardwareOptions(options []byte) relay.Reason {
	for len(options) > 0 {
		if len(options) < 8 || options[1] == 0 || int(options[1])*8 > len(options) {
			return relay.ReasonMalformed
		}
		if kind := options[0]; (kind == optionSource || kind == optionTarget) && hardware(options[2:]) != g.hw {
			return relay.ReasonGuardND
		}
		options = options[int(options[1])*8:]
	}
	return relay.ReasonNone
}
