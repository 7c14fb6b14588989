package dhcp_test

import (
	"bytes"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// FuzzFromGuest gives any frame to a responder: it must not panic, must not
// change the frame, and what it replies must be sound.
func FuzzFromGuest(f *testing.F) {
	for _, c := range clients {
		for _, t := range []dhcpv4.MessageType{
			dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform, dhcpv4.MessageTypeDecline,
		} {
			f.Add(c.message(t, asks(leased)).frame())
			f.Add(c.message(t, ciaddr(leased)).as(leased, gateway).frame())
		}
	}
	r := newResponder(f, fullConfig())
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 14 {
			return
		}
		before := bytes.Clone(frame)
		got := send(t, r, frame)
		if !bytes.Equal(before, frame) {
			t.Error("the frame was changed")
		}
		if got.msg != nil && got.verdict != relay.Taken {
			t.Errorf("a reply to a frame with verdict %v", got.verdict)
		}
		if got.frame != nil && len(got.frame)-14 > 1400 {
			t.Errorf("reply of %d bytes is over the MTU", len(got.frame)-14)
		}
	})
}

// FuzzMessage gives any message in a sound frame.
func FuzzMessage(f *testing.F) {
	for _, c := range clients {
		f.Add(c.message(dhcpv4.MessageTypeDiscover).msg.ToBytes())
		f.Add(c.message(dhcpv4.MessageTypeRequest, asks(wrong)).msg.ToBytes())
	}
	r := newResponder(f, fullConfig())
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) > 60000 {
			return
		}
		if got := send(t, r, encode(guestMAC, leased, gateway, 67, msg)); got.verdict == relay.Pass {
			t.Error("a frame to a DHCP server passed")
		}
	})
}

func BenchmarkFromGuest(b *testing.B) {
	r := newResponder(b, fullConfig())
	reply := func([]byte) {}
	tcp := message(dhcpv4.MessageTypeDiscover).frame()
	tcp[23] = 6
	udp := encode(guestMAC, leased, gateway, 53, make([]byte, 100))
	arp := append([]byte{12: 8, 13: 6}, make([]byte, 46)...)
	for _, c := range []struct {
		name  string
		frame []byte
	}{{"TCP", tcp}, {"UDP", udp}, {"ARP", arp}, {"DISCOVER", message(dhcpv4.MessageTypeDiscover).frame()}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.FromGuest(c.frame, reply)
			}
		})
	}
}

// TestNoAllocs holds the cost of frames that are not DHCP at nothing.
func TestNoAllocs(t *testing.T) {
	r := newResponder(t, fullConfig())
	frame := encode(guestMAC, leased, gateway, 53, make([]byte, 100))
	reply := func([]byte) {}
	if n := testing.AllocsPerRun(100, func() { r.FromGuest(frame, reply) }); n != 0 {
		t.Errorf("%v allocations for a frame that passes", n)
	}
}
