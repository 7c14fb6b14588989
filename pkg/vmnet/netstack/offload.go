package netstack

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// offloadFrame is the largest frame of a network with Offload: the largest IPv4
// packet and an Ethernet header, as large as the framework's with TSO. Frames have
// no header that tells of segment size and checksum, so checksums that leave the
// switch are made.
const offloadFrame = 65536 + vmnet.HeaderLen

// finishChecksum sets the TCP or UDP checksum of a frame that a guest may have left
// to its network card. What it does not know it leaves as it is.
func finishChecksum(f []byte) {
	ip := f[vmnet.HeaderLen:]
	var h header.Network
	var l4 []byte
	switch binary.BigEndian.Uint16(f[12:14]) {
	case uint16(header.IPv4ProtocolNumber):
		h4 := header.IPv4(ip)
		if !h4.IsValid(len(ip)) || h4.More() || h4.FragmentOffset() != 0 {
			return
		}
		h, l4 = h4, ip[h4.HeaderLength():h4.TotalLength()]
	case uint16(header.IPv6ProtocolNumber):
		h6 := header.IPv6(ip)
		if !h6.IsValid(len(ip)) {
			return
		}
		h, l4 = h6, ip[header.IPv6MinimumSize:header.IPv6MinimumSize+int(h6.PayloadLength())]
	default:
		return
	}
	sum := func() uint16 {
		pseudo := header.PseudoHeaderChecksum(h.TransportProtocol(), h.SourceAddress(), h.DestinationAddress(), uint16(len(l4)))
		return ^checksum.Checksum(l4, pseudo)
	}
	switch h.TransportProtocol() {
	case header.TCPProtocolNumber:
		if len(l4) >= header.TCPMinimumSize {
			header.TCP(l4).SetChecksum(0)
			header.TCP(l4).SetChecksum(sum())
		}
	case header.UDPProtocolNumber:
		u := header.UDP(l4)
		if len(u) < header.UDPMinimumSize || u.Checksum() == 0 {
			return // RFC 768: none was made, and none is left to make
		}
		u.SetChecksum(0)
		if s := sum(); s != 0 {
			u.SetChecksum(s)
		} else {
			u.SetChecksum(0xffff) // RFC 768
		}
	}
}
