package guest

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Ports of DHCP (RFC 2131, section 4.1).
const (
	dhcpServerPort = 67
	dhcpClientPort = 68
)

// address returns a as gVisor's type.
func address(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

// dhcpFrame returns the frame that carries a DHCP message to a server.
func dhcpFrame(srcMAC, dstMAC tcpip.LinkAddress, src, dst netip.Addr, msg []byte) []byte {
	const headers = header.EthernetMinimumSize + header.IPv4MinimumSize + header.UDPMinimumSize
	frame := make([]byte, headers+len(msg))
	copy(frame[headers:], msg)
	header.Ethernet(frame).Encode(&header.EthernetFields{SrcAddr: srcMAC, DstAddr: dstMAC, Type: header.IPv4ProtocolNumber})

	ip := header.IPv4(frame[header.EthernetMinimumSize:])
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(ip)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber),
		SrcAddr: address(src), DstAddr: address(dst),
	})
	ip.SetChecksum(^ip.CalculateChecksum())

	udp := header.UDP(ip[header.IPv4MinimumSize:])
	udp.Encode(&header.UDPFields{SrcPort: dhcpClientPort, DstPort: dhcpServerPort, Length: uint16(len(udp))})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, address(src), address(dst), uint16(len(udp)))
	udp.SetChecksum(^checksum.Checksum(udp, sum))
	return frame
}

// dhcpReply returns the DHCP message that a frame carries to a client, or false
// when it carries none or a checksum is wrong.
func dhcpReply(frame []byte) (msg []byte, ok bool) {
	if header.Ethernet(frame).Type() != header.IPv4ProtocolNumber {
		return nil, false
	}
	ip := header.IPv4(frame[header.EthernetMinimumSize:])
	if !ip.IsValid(len(ip)) || !ip.IsChecksumValid() || ip.More() || ip.FragmentOffset() != 0 ||
		ip.TransportProtocol() != header.UDPProtocolNumber {
		return nil, false
	}
	udp := header.UDP(ip.Payload())
	if len(udp) < header.UDPMinimumSize || udp.DestinationPort() != dhcpClientPort || udp.SourcePort() != dhcpServerPort {
		return nil, false
	}
	n := int(udp.Length())
	if n < header.UDPMinimumSize || n > len(udp) {
		return nil, false
	}
	udp = udp[:n]
	data := udp[header.UDPMinimumSize:]
	if udp.Checksum() != 0 && !udp.IsChecksumValid(ip.SourceAddress(), ip.DestinationAddress(), checksum.Checksum(data, 0)) {
		return nil, false
	}
	return data, true
}
