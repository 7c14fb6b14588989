package dhcp_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/vmnet-cni/vmnet/pkg/dhcp"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

var (
	leased6 = netip.MustParseAddr("fd00:127::2")
	wrong6  = netip.MustParseAddr("fd00:127::77")
	guestLL = dhcp.LinkLocal(guestMAC)
	allDHCP = netip.MustParseAddr("ff02::1:2")
)

func fullConfig6() dhcp.ConfigV6 {
	return dhcp.ConfigV6{
		GuestMAC: guestMAC, ServerMAC: serverMAC, Router: true,
		Addr:   netip.PrefixFrom(leased6, 64),
		DNS:    []netip.Addr{netip.MustParseAddr("fd00:127::1"), netip.MustParseAddr("2606:4700::1111")},
		Search: []string{"vm.internal", "example.org."}, MTU: 1400,
	}
}

func newResponder6(t testing.TB, cfg dhcp.ConfigV6) *dhcp.ResponderV6 {
	t.Helper()
	r, err := dhcp.NewV6(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// packet6 encodes Ethernet and IPv6 around part.
func packet6(src, dst netip.Addr, next, hops byte, part []byte) []byte {
	f := make([]byte, 54, 54+len(part))
	copy(f, []byte{0x33, 0x33, 0, 1, 0, 2})
	copy(f[6:], guestMAC)
	f[12], f[13], f[14] = 0x86, 0xdd, 0x60
	binary.BigEndian.PutUint16(f[18:], uint16(len(part)))
	f[20], f[21] = next, hops
	copy(f[22:], src.AsSlice())
	copy(f[38:], dst.AsSlice())
	return append(f, part...)
}

func udp6(port uint16, msg []byte) []byte {
	u := binary.BigEndian.AppendUint16(nil, 546)
	u = binary.BigEndian.AppendUint16(u, port)
	u = binary.BigEndian.AppendUint16(u, uint16(8+len(msg)))
	return append(append(u, 0, 0), msg...)
}

func dhcpFrame6(m *dhcpv6.Message) []byte {
	return packet6(guestLL, allDHCP, 17, 1, udp6(547, m.ToBytes()))
}

var guestDUID = &dhcpv6.DUIDEN{EnterpriseNumber: 43793, EnterpriseIdentifier: []byte{1, 2, 3, 4, 5, 6, 7, 8}} // as systemd's

// message6 returns a message of a client with one identity association that names
// addrs.
func message6(t dhcpv6.MessageType, toServer bool, addrs ...netip.Addr) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: t, TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	m.AddOption(dhcpv6.OptClientID(guestDUID))
	if toServer {
		m.AddOption(dhcpv6.OptServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: serverMAC}))
	}
	ia := &dhcpv6.OptIANA{IaId: [4]byte{9, 8, 7, 6}}
	for _, a := range addrs {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice()})
	}
	m.AddOption(ia)
	return m
}

// A result6 is what came of one frame.
type result6 struct {
	verdict relay.Verdict
	msgs    []*dhcpv6.Message
	adverts [][]byte // ICMPv6 messages
	dst     netip.Addr
	dstMAC  net.HardwareAddr
}

// send6 gives a frame to the responder and reads the replies, which must be sound.
func send6(t testing.TB, r *dhcp.ResponderV6, frame []byte) (res result6) {
	t.Helper()
	res.verdict, _ = r.FromGuest(frame, func(f []byte) {
		f = slices.Clone(f)
		if len(f) < 54 || len(f) > 1294 || f[12] != 0x86 || f[13] != 0xdd || f[14] != 0x60 || int(binary.BigEndian.Uint16(f[18:])) != len(f)-54 {
			t.Fatalf("reply headers % x", f[:min(len(f), 54)])
		}
		part := f[54:]
		if got := sum(part, uint32(sum(f[22:54], uint32(f[20])+uint32(len(part))))); got != 0xffff {
			t.Errorf("reply with a wrong checksum: %#x", got)
		}
		if src, _ := netip.AddrFromSlice(f[22:38]); src != dhcp.LinkLocal(serverMAC) {
			t.Errorf("reply from %s", src)
		}
		if len(res.msgs) == 0 { // an advertisement may follow a message
			res.dst, _ = netip.AddrFromSlice(f[38:54])
			res.dstMAC = f[:6]
		}
		switch f[20] {
		case 17:
			m, err := dhcpv6.MessageFromBytes(part[8:])
			if err != nil || binary.BigEndian.Uint16(part) != 547 || binary.BigEndian.Uint16(part[2:]) != 546 {
				t.Fatalf("reply % x: %v", part, err)
			}
			res.msgs = append(res.msgs, m)
		case 58:
			if f[21] != 255 {
				t.Errorf("advertisement with hop limit %d", f[21])
			}
			res.adverts = append(res.adverts, part)
		default:
			t.Fatalf("reply with protocol %d", f[20])
		}
	})
	return res
}

// ask sends a message and returns the only reply, or nil.
func ask(t testing.TB, r *dhcp.ResponderV6, m *dhcpv6.Message) *dhcpv6.Message {
	t.Helper()
	res := send6(t, r, dhcpFrame6(m))
	if res.verdict == relay.Pass {
		t.Error("a DHCPv6 message passed")
	}
	if len(res.msgs) == 0 {
		return nil
	}
	if len(res.msgs) > 1 || res.dst != guestLL || res.dstMAC.String() != guestMAC.String() {
		t.Errorf("%d replies, to %s at %s", len(res.msgs), res.dst, res.dstMAC)
	}
	got := res.msgs[0]
	if got.TransactionID != m.TransactionID || got.Options.ServerID() == nil {
		t.Errorf("reply %s", got.Summary())
	}
	return got
}
