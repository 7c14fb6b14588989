package dhcp_test

import (
	"bytes"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

var types6 = []dhcpv6.MessageType{
	dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind,
	dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeDecline, dhcpv6.MessageTypeInformationRequest,
}

// FuzzFromGuest6 gives any frame to a responder for IPv6: it must not panic, must
// not change the frame, and what it replies must be sound.
func FuzzFromGuest6(f *testing.F) {
	for _, typ := range types6 {
		f.Add(dhcpFrame6(message6(typ, true, leased6)))
		f.Add(dhcpFrame6(message6(typ, false, wrong6)))
	}
	f.Add(solicitation(guestLL))
	f.Add(packet6(guestLL, allDHCP, 0, 1, append([]byte{17, 0, 1, 4, 0, 0, 0, 0}, udp6(547, []byte{1, 2, 3, 4})...)))
	r := newResponder6(f, fullConfig6())
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 14 {
			return
		}
		before := bytes.Clone(frame)
		send6(t, r, frame)
		if !bytes.Equal(before, frame) {
			t.Error("the frame was changed")
		}
	})
}

// FuzzMessage6 gives any DHCPv6 message in a sound frame.
func FuzzMessage6(f *testing.F) {
	for _, typ := range types6 {
		f.Add(message6(typ, true, leased6).ToBytes())
		f.Add(message6(typ, false).ToBytes())
	}
	r := newResponder6(f, fullConfig6())
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) > 60000 {
			return
		}
		if send6(t, r, packet6(guestLL, allDHCP, 17, 1, udp6(547, msg))).verdict == relay.Pass {
			t.Error("a message to a DHCPv6 server passed")
		}
	})
}

// TestNoAllocs6 holds the cost of frames that are neither DHCPv6 nor neighbour
// discovery at nothing.
func TestNoAllocs6(t *testing.T) {
	r := newResponder6(t, fullConfig6())
	reply := func([]byte) {}
	for _, frame := range [][]byte{
		packet6(guestLL, guestLL, 6, 64, make([]byte, 1400)), packet6(guestLL, guestLL, 17, 64, udp6(53, nil)),
		encode(guestMAC, leased, gateway, 53, nil),
	} {
		if n := testing.AllocsPerRun(100, func() { r.FromGuest(frame, reply) }); n != 0 {
			t.Errorf("%v allocations for a frame that passes", n)
		}
	}
}

func BenchmarkFromGuest6(b *testing.B) {
	r := newResponder6(b, fullConfig6())
	reply := func([]byte) {}
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"TCP4", encode(guestMAC, leased, gateway, 53, nil)},
		{"TCP6", packet6(guestLL, guestLL, 6, 64, make([]byte, 1400))},
		{"SOLICIT", dhcpFrame6(message6(dhcpv6.MessageTypeSolicit, false))},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.FromGuest(c.frame, reply)
			}
		})
	}
}
