package guard

import (
	"slices"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// Of IPv4 and what it carries.
const (
	ip4Len = 20 // without options
	udpLen = 8
	arpLen = 28 // for Ethernet and IPv4

	bootServer = 67
	bootClient = 68

	icmpRedirect        = 5
	icmpRouterAdvertise = 9 // RFC 1256

	optionEnd    = 0
	optionNop    = 1
	optionLoose  = 131 // RFC 791, loose source and record route
	optionStrict = 137
)

// arp judges ARP and RARP, whose sender fields tell who is where.
func (g *Guard) arp(p []byte) relay.Reason {
	if len(p) < arpLen || be.Uint64(p)>>16 != 0x0001_0800_0604 {
		return relay.ReasonGuardARP // not Ethernet and IPv4
	}
	if g.mac && hardware(p[8:]) != g.hw {
		return relay.ReasonGuardARP
	}
	// 0.0.0.0 is a probe (RFC 5227).
	if sender := be.Uint32(p[14:]); g.check4 && sender != 0 && !slices.Contains(g.own4, sender) {
		return relay.ReasonGuardARP
	}
	return relay.ReasonNone
}

// ip4 judges an IPv4 packet, behind which there may be padding.
func (g *Guard) ip4(p []byte) relay.Reason {
	if !g.inner {
		return relay.ReasonNone
	}
	if len(p) < ip4Len {
		return relay.ReasonMalformed
	}
	size, total := int(p[0]&15)*4, int(be.Uint16(p[2:]))
	if total == 0 {
		total = len(p) // a segment of more than 64 KiB, as Linux writes it
	}
	if p[0]>>4 != 4 || size < ip4Len || total < size || total > len(p) {
		return relay.ReasonMalformed
	}
	later := be.Uint16(p[6:])&0x1fff != 0 // not the first fragment
	rest := p[size:total]
	if src := be.Uint32(p[12:]); g.check4 && !slices.Contains(g.own4, src) {
		if src != 0 || !unbound4(p[9], rest, later) {
			return relay.ReasonGuardIP
		}
	}
	if !later {
		if why := g.message4(p[9], rest); why != relay.ReasonNone {
			return why
		}
	}
	if g.reach4 == nil {
		return relay.ReasonNone
	}
	if !g.reach4.may(be.Uint32(p[16:])) || routed(p[ip4Len:size]) {
		return relay.ReasonGuardDestination
	}
	return relay.ReasonNone
}

// unbound4 reports whether a guest without an address may send the packet.
func unbound4(proto byte, rest []byte, later bool) bool {
	switch {
	case proto == protoIGMP: // RFC 4541, section 2.1.1
		return true
	case proto == protoUDP && !later && len(rest) >= udpLen:
		return be.Uint32(rest) == bootClient<<16|bootServer
	}
	return false
}

// message4 judges what servers and routers send. rest is the first fragment's.
func (g *Guard) message4(proto byte, rest []byte) relay.Reason {
	switch proto {
	case protoUDP:
		if len(rest) < udpLen {
			return relay.ReasonMalformed
		}
		if g.dhcp && (be.Uint16(rest) == bootServer || be.Uint16(rest[2:]) == bootClient) {
			return relay.ReasonGuardDHCP
		}
	case protoICMP:
		if len(rest) == 0 {
			return relay.ReasonMalformed
		}
		if g.ra && (rest[0] == icmpRedirect || rest[0] == icmpRouterAdvertise) {
			return relay.ReasonGuardRA
		}
	}
	return relay.ReasonNone
}

// routed reports whether IPv4 options have a source route, or cannot be read.
func routed(options []byte) bool {
	for len(options) > 0 {
		switch options[0] {
		case optionEnd:
			return false
		case optionNop:
			options = options[1:]
			continue
		case optionLoose, optionStrict:
			return true
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return true
		}
		options = options[options[1]:]
	}
	return false
}
