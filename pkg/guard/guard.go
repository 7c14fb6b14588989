// Package guard drops what a guest must not send: frames under another's MAC or IP
// address, the messages of DHCP servers and routers, and packets to where it may
// not reach. vmnet.Guard says what exactly; this package is how the relay does it.
//
// A guard is the first stage of a relay. It looks at headers where they are, keeps
// no state for flows, and allocates nothing for a frame. Packets are judged as
// their receiver would read them, and what a receiver could read in two ways is
// dropped as malformed: lengths that do not fit, IPv6 header chains that are too
// long or that do not end in the first fragment (RFC 7112), neighbour discovery in
// fragments (RFC 6980). Ports and ICMP types stand in the first fragment only;
// later ones cannot change them, since their offsets begin after 8 bytes and
// receivers refuse overlaps (RFC 5722).
package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Config says whom a guard guards. MAC is required.
type Config struct {
	// MAC is the guest's.
	MAC net.HardwareAddr
	// Local are the network's own subnets and its gateways: always reachable.
	Local []netip.Prefix
	// Claims are shared by the guards of one network. Nil: the guard has its own,
	// and knows of no other guest.
	Claims *Claims
}

// A Guard judges the frames of one guest. Only one goroutine at a time calls
// FromGuest, as relay.Stage says.
type Guard struct {
	hw    uint64 // the guest's MAC
	mac   bool
	inner bool // anything else is checked
	dhcp  bool
	ra    bool

	check4 bool // IPv4 source addresses
	own4   []uint32

	check6 bool // IPv6 source addresses that are not link-local
	check  bool // link-local ones
	own6   own6

	reach4 *reach[uint32]
	reach6 *reach[addr6]
}

var _ relay.Stage = (*Guard)(nil)

// Numbers of the protocols (IANA).
const (
	etherLen  = 14
	etherIP4  = 0x0800
	etherARP  = 0x0806
	etherRARP = 0x8035 // what QEMU sends for a guest that has moved
	etherIP6  = 0x86dd
	etherQ    = 0x8100 // IEEE 802.1Q
	etherAD   = 0x88a8 // IEEE 802.1ad
	etherQinQ = 0x9100 // before 802.1ad
	etherQ2   = 0x9200

	protoICMP  = 1
	protoIGMP  = 2
	protoUDP   = 17
	protoICMP6 = 58
)

var be = binary.BigEndian

// errMAC is why New refuses a configuration.
var errMAC = errors.New("want a MAC of six bytes")

// New returns a guard. Its user calls Release when the guest is gone.
func New(what vmnet.Guard, cfg Config) (*Guard, error) {
	if len(cfg.MAC) != 6 {
		return nil, fmt.Errorf("guard: mac %q: %w", cfg.MAC, errMAC)
	}
	g := &Guard{hw: hardware(cfg.MAC), mac: what.MAC, dhcp: what.DHCP, ra: what.RA, check: what.IP}
	for _, a := range what.Addrs {
		if a = a.Unmap(); a.Is4() {
			g.own4 = append(g.own4, be.Uint32(a.AsSlice()))
		}
	}
	g.check4 = what.IP && len(g.own4) > 0
	if cfg.Claims == nil {
		cfg.Claims = NewClaims()
	}
	g.own6.init(g, cfg.Claims, what, cfg.MAC)
	g.check6 = what.IP && (len(g.own6.fixed) > 1 || len(g.own6.free) > 0)
	g.reach4 = newReach4(what, cfg.Local)
	g.reach6 = newReach6(what, cfg.Local)
	g.inner = what.IP || what.DHCP || what.RA || g.reach4 != nil || g.reach6 != nil
	return g, nil
}

// Release gives up what the guest has claimed. FromGuest must not be called any
// more. It is idempotent.
func (g *Guard) Release() { g.own6.claims.release(g) }

// FromGuest implements relay.Stage.
func (g *Guard) FromGuest(frame []byte, _ func([]byte)) (relay.Verdict, relay.Reason) {
	if why := g.judge(frame); why != relay.ReasonNone {
		return relay.Drop, why
	}
	return relay.Pass, relay.ReasonNone
}

// judge returns why the frame, of at least 14 bytes, is dropped, or ReasonNone.
func (g *Guard) judge(f []byte) relay.Reason {
	head := be.Uint64(f[6:]) // source and type
	if g.mac && head>>16 != g.hw {
		return relay.ReasonGuardMAC
	}
	if !g.mac && !g.inner {
		return relay.ReasonNone
	}
	switch uint16(head) {
	case etherIP4:
		return g.ip4(f[etherLen:])
	case etherIP6:
		return g.ip6(f[etherLen:])
	case etherARP, etherRARP:
		return g.arp(f[etherLen:])
	case etherQ, etherAD, etherQinQ, etherQ2:
		if g.inner {
			return relay.ReasonGuardVLAN
		}
	}
	return relay.ReasonNone
}

// hardware returns six bytes as a number.
func hardware(b []byte) uint64 { return uint64(be.Uint16(b))<<32 | uint64(be.Uint32(b[2:])) }
