package dhcp_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/vmnet-cni/vmnet/pkg/dhcp"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

var (
	guestMAC  = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	otherMAC  = net.HardwareAddr{0x52, 0x54, 0, 0xaa, 0xbb, 0xcc}
	serverMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 1}
	noMAC     = net.HardwareAddr{0, 0, 0, 0, 0, 0}
	allMAC    = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

	leased  = net.IP{192, 168, 127, 2}
	gateway = net.IP{192, 168, 127, 1}
	wrong   = net.IP{10, 0, 0, 7}
)

// fullConfig tells everything that can be told.
func fullConfig() dhcp.Config {
	return dhcp.Config{
		GuestMAC: guestMAC, ServerMAC: serverMAC,
		Addr:     netip.MustParsePrefix("192.168.127.2/24"),
		Gateway:  netip.MustParseAddr("192.168.127.1"),
		DNS:      []netip.Addr{netip.MustParseAddr("192.168.127.1"), netip.MustParseAddr("1.1.1.1")},
		Domain:   "vm.internal",
		Search:   []string{"vm.internal", "example.org."},
		Hostname: "guest", MTU: 1400,
		Routes: []dhcp.Route{
			{Dst: netip.MustParsePrefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("192.168.127.9")},
			{Dst: netip.MustParsePrefix("169.254.169.254/32")},
		},
	}
}

// A packet is what a client sends, headers included.
type packet struct {
	msg      *dhcpv4.DHCPv4
	srcMAC   net.HardwareAddr
	src, dst net.IP
}

// message returns a message of a client in state init, changed by mods.
func message(t dhcpv4.MessageType, mods ...dhcpv4.Modifier) packet {
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(guestMAC), dhcpv4.WithMessageType(t), dhcpv4.WithTransactionID(dhcpv4.TransactionID{1, 2, 3, 4}),
	}, mods...)...)
	if err != nil {
		panic(err)
	}
	return packet{msg: m, srcMAC: guestMAC, src: net.IPv4zero, dst: net.IPv4bcast}
}

// frame encodes the packet as Ethernet, IPv4 and UDP.
func (p packet) frame() []byte { return encode(p.srcMAC, p.src, p.dst, 67, p.msg.ToBytes()) }

func encode(srcMAC net.HardwareAddr, src, dst net.IP, port uint16, msg []byte) []byte {
	f := make([]byte, 14+20+8, 14+20+8+len(msg))
	copy(f, allMAC)
	copy(f[6:], srcMAC)
	f[12] = 8
	ip := f[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(msg)))
	copy(ip[12:], src.To4())
	copy(ip[16:], dst.To4())
	setSum(f)
	binary.BigEndian.PutUint16(ip[20:], 68)
	binary.BigEndian.PutUint16(ip[22:], port)
	binary.BigEndian.PutUint16(ip[24:], uint16(8+len(msg)))
	return append(f, msg...)
}

// setSum sets the checksum of the IPv4 header.
func setSum(f []byte) {
	ip := f[14 : 14+int(f[14]&15)*4]
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip, 0))
}

// sum adds 16-bit words with end-around carry.
func sum(b []byte, s uint32) uint16 {
	for i, x := range b {
		s += uint32(x) << (8 * (1 - i%2))
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// A result is what came of one frame.
type result struct {
	verdict        relay.Verdict
	reason         relay.Reason
	msg            *dhcpv4.DHCPv4 // nil: no reply
	dstMAC, srcMAC net.HardwareAddr
	src, dst       net.IP
	frame          []byte
}

// send gives a frame to the responder and reads the reply, which must be sound.
func send(t testing.TB, r *dhcp.Responder, frame []byte) result {
	t.Helper()
	var res result
	res.verdict, res.reason = r.FromGuest(frame, func(f []byte) {
		if res.frame != nil {
			t.Error("two replies to one frame")
		}
		res.frame = slices.Clone(f)
	})
	if res.frame != nil {
		res.read(t)
	}
	return res
}

func (r *result) read(t testing.TB) {
	t.Helper()
	f := r.frame
	if len(f) < 14+20+8+300 {
		t.Fatalf("reply of %d bytes: want a message of at least 300", len(f))
	}
	ip, udp := f[14:34], f[34:]
	if f[12] != 8 || f[13] != 0 || ip[0] != 0x45 || ip[9] != 17 || int(binary.BigEndian.Uint16(ip[2:])) != len(f)-14 {
		t.Fatalf("reply headers % x", f[12:34])
	}
	if sum(ip, 0) != 0xffff {
		t.Error("reply with a wrong IPv4 header checksum")
	}
	n := binary.BigEndian.Uint16(udp[4:])
	if int(n) != len(udp) || binary.BigEndian.Uint16(udp) != 67 || binary.BigEndian.Uint16(udp[2:]) != 68 {
		t.Fatalf("reply UDP header % x", udp[:8])
	}
	if sum(udp, uint32(sum(ip[12:20], 17+uint32(n)))) != 0xffff {
		t.Error("reply with a wrong UDP checksum")
	}
	msg, err := dhcpv4.FromBytes(udp[8:])
	if err != nil {
		t.Fatalf("reply: %v", err)
	}
	r.msg, r.dstMAC, r.srcMAC, r.src, r.dst = msg, f[:6], f[6:12], net.IP(ip[12:16]), net.IP(ip[16:20])
	if msg.OpCode != dhcpv4.OpcodeBootReply || msg.MessageType() == dhcpv4.MessageTypeNone || msg.ServerIdentifier() == nil {
		t.Errorf("reply is none: %s", msg.Summary())
	}
}

func newResponder(t testing.TB, cfg dhcp.Config) *dhcp.Responder {
	t.Helper()
	r, err := dhcp.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
