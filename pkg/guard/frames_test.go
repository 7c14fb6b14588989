package guard_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/pkg/guard"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

var (
	mine    = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	theirs  = net.HardwareAddr{2, 0, 0, 0, 0, 8}
	all     = vmnet.Guard{MAC: true, IP: true, DHCP: true, RA: true, Addrs: addrs("10.0.0.9", "fd00::9")}
	local   = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}
	gateway = netip.MustParseAddr("fe80::1")
)

func addrs(texts ...string) (list []netip.Addr) {
	for _, s := range texts {
		list = append(list, netip.MustParseAddr(s))
	}
	return list
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, s := range texts {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

func newGuard(t testing.TB, what vmnet.Guard, claims *guard.Claims) *guard.Guard {
	t.Helper()
	if claims == nil {
		claims = guard.NewClaims(gateway)
	}
	g, err := guard.New(what, guard.Config{MAC: mine, Local: local, Claims: claims})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Release)
	return g
}

// ether returns a frame from src; bytes after head are payload.
func ether(src net.HardwareAddr, typ uint16, payload ...[]byte) []byte {
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, src...)
	f = binary.BigEndian.AppendUint16(f, typ)
	return append(f, slices.Concat(payload...)...)
}

// An ip4 is an IPv4 packet.
type ip4 struct {
	src, dst string
	proto    byte
	flags    uint16 // and offset
	options  []byte
	data     []byte
}

func (p ip4) frame() []byte { return ether(mine, 0x0800, p.bytes()) }

func (p ip4) bytes() []byte {
	b := make([]byte, 20, 20+len(p.options)+len(p.data))
	b[0] = 4<<4 | byte(5+len(p.options)/4)
	binary.BigEndian.PutUint16(b[2:], uint16(cap(b)))
	binary.BigEndian.PutUint16(b[6:], p.flags)
	b[8], b[9] = 64, p.proto
	copy(b[12:], netip.MustParseAddr(p.src).AsSlice())
	copy(b[16:], netip.MustParseAddr(p.dst).AsSlice())
	return append(append(b, p.options...), p.data...)
}

// An ip6 is an IPv6 packet.
type ip6 struct {
	src, dst string
	next     byte
	data     []byte
}

func (p ip6) frame() []byte { return ether(mine, 0x86dd, p.bytes()) }

func (p ip6) bytes() []byte {
	b := make([]byte, 40, 40+len(p.data))
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(len(p.data)))
	b[6], b[7] = p.next, 255
	copy(b[8:], netip.MustParseAddr(p.src).AsSlice())
	copy(b[24:], netip.MustParseAddr(p.dst).AsSlice())
	return append(b, p.data...)
}

func udp(src, dst uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, src)
	b = binary.BigEndian.AppendUint16(b, dst)
	return append(b, 0, 12, 0, 0, 'a', 'b', 'c', 'd')
}

// arp returns ARP from the sender.
func arp(op byte, mac net.HardwareAddr, sender, target string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, op}
	b = append(append(b, mac...), netip.MustParseAddr(sender).AsSlice()...)
	b = append(b, make([]byte, 6)...)
	return append(b, netip.MustParseAddr(target).AsSlice()...)
}

// nd returns a message of neighbour discovery with a target, or without.
func nd(kind byte, target string, options ...byte) []byte {
	b := []byte{kind, 0, 0, 0, 0, 0, 0, 0}
	switch {
	case target != "":
		b = append(b, netip.MustParseAddr(target).AsSlice()...)
	case kind == 134:
		b = append(b, make([]byte, 8)...)
	}
	return append(b, options...)
}

func link(kind byte, mac net.HardwareAddr) []byte { return append([]byte{kind, 1}, mac...) }

// ext returns an extension header of 8 bytes before data.
func ext(next byte, tail ...byte) []byte {
	b := make([]byte, 8)
	b[0] = next
	copy(b[1:], tail)
	return b
}

// fragment returns a fragment header; offset is in bytes.
func fragment(next byte, offset uint16, more bool) []byte {
	if more {
		offset |= 1
	}
	return append([]byte{next, 0}, byte(offset>>8), byte(offset), 0, 0, 0, 7)
}
