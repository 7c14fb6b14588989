package dhcp_test

import (
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// A client is how a DHCP client writes its messages: what it asks for, how it
// calls itself, and what else it puts in. Taken from the clients' sources and
// documentation.
type client struct {
	name string
	prl  []byte
	mods []dhcpv4.Modifier
}

func option(code uint8, value ...byte) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), value))
}

func text(code uint8, s string) dhcpv4.Modifier { return option(code, []byte(s)...) }

// An identifier by RFC 4361: type 255, IAID, DUID-EN or DUID-LLT.
var duid = []byte{255, 0x56, 0x50, 0x4d, 0x98, 0, 2, 0, 0, 0xab, 0x11, 1, 2, 3, 4, 5, 6, 7, 8}

var clients = []client{
	{"udhcpc", []byte{1, 3, 6, 12, 15, 28, 42}, []dhcpv4.Modifier{
		option(57, 0x02, 0x40), option(61, append([]byte{1}, guestMAC...)...), text(60, "udhcp 1.36.1"),
	}},
	{"dhclient", []byte{1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42}, []dhcpv4.Modifier{text(12, "debian")}},
	{"dhcpcd", []byte{1, 121, 33, 3, 6, 12, 15, 26, 28, 42, 51, 54, 58, 59, 119}, []dhcpv4.Modifier{
		option(61, duid...), option(57, 0x05, 0xc0), text(60, "dhcpcd-10.0.6:Linux-6.12"), option(80), option(145, 1), text(12, "host"),
	}},
	{"networkd", []byte{1, 3, 12, 15, 6, 33, 121, 26, 119, 42, 120, 108}, []dhcpv4.Modifier{
		option(61, duid...), option(57, 0x02, 0x40), text(12, "host"), option(80),
	}},
	{"macOS", []byte{1, 121, 3, 6, 15, 108, 114, 119, 252, 95, 44, 46}, []dhcpv4.Modifier{
		option(57, 0x05, 0xdc), option(61, append([]byte{1}, guestMAC...)...), option(51, 0, 0x76, 0xa7, 0), text(12, "mac"),
	}},
	{"Windows", []byte{1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252}, []dhcpv4.Modifier{
		option(61, append([]byte{1}, guestMAC...)...), text(12, "WIN"), text(60, "MSFT 5.0"), dhcpv4.WithBroadcast(true),
	}},
	{"iPXE", []byte{1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 203}, []dhcpv4.Modifier{
		option(57, 0x05, 0xc0), text(60, "PXEClient:Arch:00007:UNDI:003010"), option(93, 0, 7), option(94, 1, 3, 16),
	}},
	{"bare", nil, []dhcpv4.Modifier{func(m *dhcpv4.DHCPv4) {
		m.ClientHWAddr, m.HWType = nil, iana.HWTypeInfiniband // RFC 4390: no address in the message
		m.SetBroadcast()
	}}},
}

// message returns a message as the client writes it.
func (c client) message(t dhcpv4.MessageType, mods ...dhcpv4.Modifier) packet {
	all := append([]dhcpv4.Modifier{}, c.mods...)
	if c.prl != nil {
		all = append(all, option(55, c.prl...))
	}
	return message(t, append(all, mods...)...)
}
