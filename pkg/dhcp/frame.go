package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/vmnet-cni/vmnet/internal/checksum"
)

// Lengths and numbers of the headers around a message.
const (
	etherLen = 14
	ipLen    = 20 // without options
	udpLen   = 8
	etherIP4 = 0x0800
	protoUDP = 17

	serverPort = 67
	clientPort = 68
)

var be = binary.BigEndian

// isDHCP reports whether the frame is for a DHCPv4 server. It looks at as few
// bytes as it can: this is the way of every frame. The frame has at least 14 bytes.
func isDHCP(f []byte) bool {
	if f[12] != etherIP4>>8 || f[13] != etherIP4&0xff || len(f) < etherLen+ipLen+udpLen {
		return false
	}
	if f[etherLen+9] != protoUDP || f[etherLen]>>4 != 4 {
		return false
	}
	ihl := int(f[etherLen]&15) * 4
	if ihl < ipLen || len(f) < etherLen+ihl+udpLen {
		return false
	}
	fragment := f[etherLen+6]&0x3f != 0 || f[etherLen+7] != 0 // MF or an offset
	return !fragment && f[etherLen+ihl+2] == 0 && f[etherLen+ihl+3] == serverPort
}

// payload returns the UDP payload of a frame that isDHCP knows, and where the
// frame came from, or false if its lengths or its header checksum are wrong.
// Bytes after the IP packet are Ethernet's padding.
func payload(f []byte) (msg []byte, mac net.HardwareAddr, src netip.Addr, ok bool) {
	ip := f[etherLen:]
	ihl, total := int(ip[0]&15)*4, int(be.Uint16(ip[2:]))
	if total > len(ip) || total < ihl+udpLen || checksum.Fold(checksum.Add(0, ip[:ihl])) != 0xffff {
		return nil, nil, src, false
	}
	udp := ip[ihl:total]
	n := int(be.Uint16(udp[4:]))
	if n < udpLen || n > len(udp) {
		return nil, nil, src, false
	}
	src = netip.AddrFrom4([4]byte(ip[12:16]))
	return udp[udpLen:n], net.HardwareAddr(f[6:12]), src, true
}

// A header says between whom a reply goes.
type header struct {
	srcMAC, dstMAC net.HardwareAddr
	src, dst       netip.Addr
}

// frame returns the frame that carries msg to the client's port.
func (h header) frame(msg []byte) []byte {
	total := ipLen + udpLen + len(msg)
	f := make([]byte, etherLen+total)
	copy(f, h.dstMAC)
	copy(f[6:], h.srcMAC)
	be.PutUint16(f[12:], etherIP4)

	ip, src, dst := f[etherLen:], h.src.As4(), h.dst.As4()
	ip[0] = 4<<4 | ipLen/4
	be.PutUint16(ip[2:], uint16(total))
	ip[8] = 64 // TTL; RFC 1700
	ip[9] = protoUDP
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	be.PutUint16(ip[10:], ^checksum.Fold(checksum.Add(0, ip[:ipLen])))

	udp := ip[ipLen:]
	be.PutUint16(udp, serverPort)
	be.PutUint16(udp[2:], clientPort)
	be.PutUint16(udp[4:], uint16(len(udp)))
	copy(udp[udpLen:], msg)
	be.PutUint16(udp[6:], checksum.UDP(checksum.Add(checksum.Pseudo(ip, protoUDP, len(udp)), udp)))
	return f
}
