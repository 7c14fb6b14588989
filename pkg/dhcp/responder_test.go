package dhcp_test

import (
	"bytes"
	"net"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/vmnet-cni/vmnet/pkg/dhcp"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// as sets where the packet comes from and goes to.
func (p packet) as(src, dst net.IP) packet {
	p.src, p.dst = src, dst
	return p
}

func ciaddr(ip net.IP) dhcpv4.Modifier {
	return func(m *dhcpv4.DHCPv4) { m.ClientIPAddr = ip }
}

func asks(ip net.IP) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip)) }

func to(ip net.IP) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip)) }

// TestStates has a row for each state of a client and each of its mistakes.
func TestStates(t *testing.T) {
	const none = dhcpv4.MessageTypeNone
	discover, request := dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest
	offer, ack, nak := dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak
	for _, c := range []struct {
		name   string
		packet packet
		want   dhcpv4.MessageType
		dst    net.IP
		dstMAC net.HardwareAddr
	}{
		{"discover", message(discover), offer, leased, guestMAC},
		{"discover, broadcast flag", message(discover, dhcpv4.WithBroadcast(true)), offer, net.IPv4bcast, allMAC},
		{"discover, wants another address", message(discover, asks(wrong)), offer, leased, guestMAC},
		{"discover, rapid commit", message(discover, option(80)), ack, leased, guestMAC},
		{"discover, through a relay agent", message(discover, dhcpv4.WithGatewayIP(wrong)), offer, leased, guestMAC},
		{"selecting", message(request, to(gateway), asks(leased)), ack, leased, guestMAC},
		{"selecting, broadcast flag", message(request, to(gateway), asks(leased), dhcpv4.WithBroadcast(true)), ack, net.IPv4bcast, allMAC},
		{"selecting, wrong address", message(request, to(gateway), asks(wrong)), nak, net.IPv4bcast, allMAC},
		{"selecting, another server", message(request, to(wrong), asks(leased)), none, nil, nil},
		{"selecting, address in ciaddr", message(request, to(gateway), ciaddr(leased)), ack, leased, guestMAC},
		{"init-reboot", message(request, asks(leased)), ack, leased, guestMAC},
		{"init-reboot, wrong address", message(request, asks(wrong)), nak, net.IPv4bcast, allMAC},
		{"renewing", message(request, ciaddr(leased)).as(leased, gateway), ack, leased, guestMAC},
		{"renewing, wrong address", message(request, ciaddr(wrong)).as(wrong, gateway), nak, net.IPv4bcast, allMAC},
		{"rebinding", message(request, ciaddr(leased)).as(leased, net.IPv4bcast), ack, leased, guestMAC},
		{"rebinding, wrong address", message(request, ciaddr(wrong)).as(wrong, net.IPv4bcast), nak, net.IPv4bcast, allMAC},
		{"request of nothing", message(request), nak, net.IPv4bcast, allMAC},
		{"inform", message(dhcpv4.MessageTypeInform, ciaddr(leased)).as(leased, net.IPv4bcast), ack, leased, guestMAC},
		{"inform, another address", message(dhcpv4.MessageTypeInform, ciaddr(wrong)), ack, wrong, guestMAC},
		{"inform, no ciaddr", message(dhcpv4.MessageTypeInform).as(leased, net.IPv4bcast), ack, leased, guestMAC},
		{"inform, no address at all", message(dhcpv4.MessageTypeInform), ack, net.IPv4bcast, allMAC},
		{"decline", message(dhcpv4.MessageTypeDecline, to(gateway), asks(leased)), none, nil, nil},
		{"release", message(dhcpv4.MessageTypeRelease, to(gateway), ciaddr(leased)), none, nil, nil},
		{"bootp", message(none), none, nil, nil},
		{"server's message", message(offer), none, nil, nil},
		{"another chaddr", message(discover, dhcpv4.WithHwAddr(otherMAC)), offer, leased, otherMAC},
		{"no chaddr", message(discover, dhcpv4.WithHwAddr(noMAC)), offer, leased, guestMAC},
		{"multicast chaddr", message(discover, dhcpv4.WithHwAddr(allMAC)), offer, leased, guestMAC},
		{"chaddr of 16 bytes", message(discover, dhcpv4.WithHwAddr(make([]byte, 16))), offer, leased, guestMAC},
		{"to another server", message(discover).as(leased, wrong), offer, leased, guestMAC},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := send(t, newResponder(t, fullConfig()), c.packet.frame())
			if got.verdict != relay.Taken {
				t.Errorf("verdict %v, want taken", got.verdict)
			}
			if (got.msg == nil) != (c.want == none) {
				t.Fatalf("reply %v, want %v", got.msg, c.want)
			}
			if got.msg == nil {
				return
			}
			if got.msg.MessageType() != c.want || !got.dst.Equal(c.dst) || !bytes.Equal(got.dstMAC, c.dstMAC) {
				t.Errorf("reply %v to %v %v, want %v to %v %v",
					got.msg.MessageType(), got.dst, got.dstMAC, c.want, c.dst, c.dstMAC)
			}
			checkFields(t, c.packet.msg, got)
		})
	}
}

// checkFields checks the fields of a reply by table 3 of RFC 2131.
func checkFields(t *testing.T, req *dhcpv4.DHCPv4, got result) {
	t.Helper()
	m := got.msg
	lease := m.MessageType() != dhcpv4.MessageTypeNak && req.MessageType() != dhcpv4.MessageTypeInform
	if m.TransactionID != req.TransactionID || m.Flags != req.Flags || !bytes.Equal(m.ClientHWAddr, req.ClientHWAddr) {
		t.Errorf("reply does not fit the request: %s", m.Summary())
	}
	if !got.src.Equal(gateway) || !m.ServerIdentifier().Equal(gateway) || !bytes.Equal(got.srcMAC, serverMAC) {
		t.Errorf("reply from %v (%v)", got.src, m.ServerIdentifier())
	}
	if m.YourIPAddr.Equal(leased) != lease || (m.IPAddressLeaseTime(0) != 0) != lease {
		t.Errorf("address and lease time: %s", m.Summary())
	}
	if (m.MessageType() == dhcpv4.MessageTypeNak) != (m.Message() != "") {
		t.Errorf("message %q", m.Message())
	}
	rapid := req.MessageType() == dhcpv4.MessageTypeDiscover && m.MessageType() == dhcpv4.MessageTypeAck
	if m.Options.Has(dhcpv4.OptionRapidCommit) != rapid {
		t.Error("rapid commit")
	}
	if !bytes.Equal(m.Options.Get(dhcpv4.OptionClientIdentifier), req.Options.Get(dhcpv4.OptionClientIdentifier)) {
		t.Error("client identifier is not echoed (RFC 6842)")
	}
}

// TestClients has every client go through init, selecting, bound, renewing.
func TestClients(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			r := newResponder(t, fullConfig())
			first := send(t, r, c.message(dhcpv4.MessageTypeDiscover).frame())
			if first.msg == nil || !first.msg.YourIPAddr.Equal(leased) {
				t.Fatalf("discover: %+v", first)
			}
			second := send(t, r, c.message(dhcpv4.MessageTypeRequest, to(first.msg.ServerIdentifier()), asks(first.msg.YourIPAddr)).frame())
			if second.msg == nil || second.msg.MessageType() != dhcpv4.MessageTypeAck {
				t.Fatalf("request: %+v", second)
			}
			for _, code := range []uint8{1, 3, 6, 51, 54, 58, 59} {
				if !second.msg.Options.Has(dhcpv4.GenericOptionCode(code)) {
					t.Errorf("option %d is not there", code)
				}
			}
			for code := range second.msg.Options {
				if always := []byte{1, 3, 6, 26, 51, 53, 54, 58, 59, 61}; c.prl != nil && !bytes.Contains(always, []byte{code}) && !bytes.Contains(c.prl, []byte{code}) {
					t.Errorf("option %d was not asked for", code)
				}
			}
			third := send(t, r, c.message(dhcpv4.MessageTypeRequest, ciaddr(leased)).as(leased, gateway).frame())
			if third.msg == nil || third.msg.MessageType() != dhcpv4.MessageTypeAck {
				t.Fatalf("renew: %+v", third)
			}
		})
	}
}

// TestFrames has frames that are, and that are not, DHCP for a server.
func TestFrames(t *testing.T) {
	good := message(dhcpv4.MessageTypeDiscover).frame()
	change := func(fn func(f []byte) []byte) []byte { return fn(bytes.Clone(good)) }
	set := func(at int, b ...byte) []byte {
		return change(func(f []byte) []byte { copy(f[at:], b); setSum(f); return f })
	}
	withOptions := change(func(f []byte) []byte {
		f = append(append(bytes.Clone(f[:34]), 1, 1, 1, 1), f[34:]...)
		f[14], f[17] = 0x46, f[17]+4
		setSum(f)
		return f
	})
	for _, c := range []struct {
		name    string
		frame   []byte
		verdict relay.Verdict
		replies bool
	}{
		{"good", good, relay.Taken, true},
		{"UDP checksum 0", set(40, 0, 0), relay.Taken, true},
		{"UDP checksum of the device", set(40, 0x12, 0x34), relay.Taken, true},
		{"padding after the packet", change(func(f []byte) []byte { return append(f, make([]byte, 100)...) }), relay.Taken, true},
		{"IP options", withOptions, relay.Taken, true},
		{"don't fragment", set(20, 0x40), relay.Taken, true},
		{"no end option", encode(guestMAC, net.IPv4zero, net.IPv4bcast, 67, bytes.TrimRight(message(dhcpv4.MessageTypeDiscover).msg.ToBytes(), "\x00\xff")), relay.Taken, true},
		{"first fragment", set(20, 0x20), relay.Pass, false},
		{"later fragment", set(20, 0, 1), relay.Pass, false},
		{"VLAN", change(func(f []byte) []byte { return append(append(bytes.Clone(f[:12]), 0x81, 0, 0, 5), f[12:]...) }), relay.Pass, false},
		{"IPv6", set(12, 0x86, 0xdd), relay.Pass, false},
		{"TCP", set(23, 6), relay.Pass, false},
		{"another port", encode(guestMAC, leased, wrong, 53, make([]byte, 300)), relay.Pass, false},
		{"a server's port 68", encode(guestMAC, leased, wrong, 68, make([]byte, 300)), relay.Pass, false},
		{"bare Ethernet header", good[:14], relay.Pass, false},
		{"cut in the UDP header", good[:38], relay.Pass, false},
		{"version 6", set(14, 0x65), relay.Pass, false},
		{"cut in the message", good[:200], relay.Drop, false},
		{"header checksum", change(func(f []byte) []byte { f[24]++; return f }), relay.Drop, false},
		{"IP length below the headers", set(16, 0, 20), relay.Drop, false},
		{"UDP length above IP's", set(38, 0xff, 0xff), relay.Drop, false},
		{"UDP length below its header", set(38, 0, 7), relay.Drop, false},
		{"empty message", encode(guestMAC, leased, wrong, 67, nil), relay.Drop, false},
		{"no cookie", encode(guestMAC, leased, wrong, 67, make([]byte, 300)), relay.Drop, false},
		{"a reply", encode(guestMAC, leased, wrong, 67, func() []byte {
			m := message(dhcpv4.MessageTypeOffer).msg
			m.OpCode = dhcpv4.OpcodeBootReply
			return m.ToBytes()
		}()), relay.Drop, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := send(t, newResponder(t, fullConfig()), c.frame)
			if got.verdict != c.verdict || (got.msg != nil) != c.replies {
				t.Errorf("verdict %v, reply %v, want %v, %v", got.verdict, got.msg != nil, c.verdict, c.replies)
			}
			if got.verdict == relay.Drop && got.reason != relay.ReasonMalformed {
				t.Errorf("reason %v", got.reason)
			}
		})
	}
}

func TestDecline(t *testing.T) {
	var declined []dhcp.Decline
	cfg := fullConfig()
	cfg.OnDecline = func(d dhcp.Decline) { declined = append(declined, d) }
	r := newResponder(t, cfg)
	send(t, r, message(dhcpv4.MessageTypeDecline, asks(leased), to(gateway), text(56, "in use")).frame())
	if len(declined) != 1 || declined[0].Addr != cfg.Addr.Addr() || declined[0].Message != "in use" || !bytes.Equal(declined[0].MAC, guestMAC) {
		t.Errorf("OnDecline: %+v", declined)
	}
	if got := send(t, r, message(dhcpv4.MessageTypeDiscover).frame()); got.msg == nil || !got.msg.YourIPAddr.Equal(leased) {
		t.Errorf("after DECLINE: %+v", got)
	}
	if want := (dhcp.Stats{Discovers: 1, Declines: 1, Offers: 1}); r.Stats() != want {
		t.Errorf("stats %+v, want %+v", r.Stats(), want)
	}
}
