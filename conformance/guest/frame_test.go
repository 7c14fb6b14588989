package guest

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// answerTo returns what dhcpFrame made, turned into the server's direction.
func answerTo(msg []byte) []byte {
	src, dst := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("255.255.255.255")
	f := dhcpFrame(tcpip.LinkAddress("\x02\x00\x00\x00\x00\x01"), header.EthernetBroadcastAddress, src, dst, msg)
	udp := header.UDP(header.IPv4(f[14:]).Payload())
	udp.SetSourcePort(dhcpServerPort)
	udp.SetDestinationPort(dhcpClientPort) // the sum of both ports stays, and so does the checksum
	return f
}

func TestReply(t *testing.T) {
	msg := []byte("any message, odd")
	good := answerTo(msg)
	if got, ok := dhcpReply(good); !ok || !bytes.Equal(got, msg) {
		t.Fatalf("got %q, %v", got, ok)
	}
	if got, ok := dhcpReply(append(bytes.Clone(good), make([]byte, 18)...)); !ok || !bytes.Equal(got, msg) {
		t.Errorf("with Ethernet's padding: %q, %v", got, ok)
	}
	for at := 12; at < len(good); at++ {
		if at == 26 || at == 27 { // addresses are covered below, by the checksum of the header
			continue
		}
		bad := bytes.Clone(good)
		bad[at] ^= 0x41
		if got, ok := dhcpReply(bad); ok {
			t.Errorf("byte %d changed: %q", at, got)
		}
	}
	for n := 14; n < len(good); n++ {
		if got, ok := dhcpReply(good[:n]); ok {
			t.Errorf("cut at %d: %q", n, got)
		}
	}
}

func FuzzReply(f *testing.F) {
	m, err := dhcpv4.New()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(answerTo(m.ToBytes()))
	f.Add(answerTo(nil))
	f.Add(make([]byte, 14))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < header.EthernetMinimumSize {
			return // a port swallows those
		}
		data, ok := dhcpReply(frame)
		if !ok {
			return
		}
		r, err := dhcpv4.FromBytes(data)
		if err != nil {
			return
		}
		if l, err := parseLease(r); err == nil && (!l.Address.IsValid() || l.Address.Addr().IsUnspecified()) {
			t.Fatalf("a lease without an address: %+v", l)
		}
	})
}
