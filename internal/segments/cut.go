package segments

import (
	"encoding/binary"

	"github.com/vmnet-cni/vmnet/internal/checksum"
)

// A Cutter takes one packet at a time apart into frames. The zero value is ready.
type Cutter struct {
	frame   []byte // what is to be cut, without the virtio-net header
	l3, l4  int    // where its IP and TCP headers begin
	headers int    // bytes before its payload
	mss     int    // bytes of payload in a frame; 0: the frame goes whole
	at      int    // what is done, in bytes of payload
	id      uint16 // how many frames that made
	left    bool   // there is a next frame
}

// Start takes a packet with its virtio-net header, which the Cutter changes and keeps
// until the last frame was taken. It returns ErrTooBig when a frame would have more
// than limit bytes, and ErrMalformed; there is no frame then.
func (c *Cutter) Start(packet []byte, limit int) error {
	*c = Cutter{}
	if len(packet) < Len+ethLen {
		return ErrMalformed
	}
	h := parseHeader(packet)
	c.frame = packet[Len:]
	err := c.plan(h)
	switch {
	case err != nil:
	case c.mss == 0 && len(c.frame) > limit, c.mss > 0 && c.headers+min(c.mss, len(c.frame)-c.headers) > limit:
		err = ErrTooBig
	case c.mss == 0 && h.flags&flagNeedsCsum != 0:
		err = complete(c.frame, int(h.csumStart), int(h.csumOffset))
	}
	c.left = err == nil
	return err
}

// maxExtensions bounds the extension headers of IPv6 in bytes: each frame repeats them.
const maxExtensions = 256

// complete makes the checksum that was left open: of everything from start on, where
// its field has the sum of the pseudo header.
func complete(frame []byte, start, offset int) error {
	if start+offset+2 > len(frame) {
		return ErrMalformed
	}
	binary.BigEndian.PutUint16(frame[start+offset:], checksum.UDP(checksum.Add(0, frame[start:])))
	return nil
}

// plan finds out how c.frame is to be cut.
func (c *Cutter) plan(h header) error {
	if h.gsoType == gsoNone {
		return nil
	}
	f := c.frame
	c.l3, c.l4 = ipAt(f), int(h.csumStart)
	if c.l3 == 0 || c.l4+tcpLen > len(f) || h.gsoSize == 0 || h.flags&flagNeedsCsum == 0 {
		return ErrMalformed
	}
	ip := f[c.l3:]
	switch h.gsoType &^ gsoECN {
	case gsoTCPv4:
		if c.l4 < c.l3+ip4Len || ip[0]>>4 != 4 || int(ip[0]&15)*4 != c.l4-c.l3 || ip[9] != protoTCP {
			return ErrMalformed
		}
	case gsoTCPv6:
		if c.l4 < c.l3+ip6Len || c.l4 > c.l3+ip6Len+maxExtensions || ip[0]>>4 != 6 {
			return ErrMalformed
		}
	default:
		return ErrMalformed
	}
	c.headers, c.mss = c.l4+int(f[c.l4+tcpOff]>>4)*4, int(h.gsoSize)
	if c.headers < c.l4+tcpLen || c.headers >= len(f) || len(f)-c.l3 > 65535+ip6Len {
		return ErrMalformed
	}
	return nil
}

// ipAt returns where the IP header of a frame begins, behind VLAN tags, or 0 when
// there is none.
func ipAt(f []byte) int {
	for at := 12; at+2+ip4Len <= len(f); at += 4 {
		switch binary.BigEndian.Uint16(f[at:]) {
		case 0x0800, 0x86dd:
			return at + 2
		case 0x8100, 0x88a8: // IEEE 802.1Q
		default:
			return 0
		}
	}
	return 0
}

// Next writes the next frame into dst, which has at least as many bytes as Start was
// told, and returns its length. ok is false when there is none.
func (c *Cutter) Next(dst []byte) (n int, ok bool) {
	if !c.left {
		return 0, false
	}
	if c.mss == 0 {
		c.left = false
		return copy(dst, c.frame), true
	}
	n = copy(dst, c.frame[:c.headers])
	size := min(c.mss, len(c.frame)-c.headers-c.at)
	from := c.headers + c.at
	n += copy(dst[n:], c.frame[from:from+size])
	c.left = from+size < len(c.frame)
	c.patch(dst[:n])
	c.at += size
	c.id++
	return n, true
}

// patch makes the headers of the frame f true.
func (c *Cutter) patch(f []byte) {
	be := binary.BigEndian
	ip, tcp := f[c.l3:], f[c.l4:]
	if ip[0]>>4 == 6 {
		be.PutUint16(ip[4:], uint16(len(ip)-ip6Len))
	} else {
		be.PutUint16(ip[2:], uint16(len(ip)))
		be.PutUint16(ip[4:], be.Uint16(ip[4:])+c.id)
		setChecksum4(ip[:c.l4-c.l3])
	}
	be.PutUint32(tcp[tcpSeq:], be.Uint32(tcp[tcpSeq:])+uint32(c.at))
	if c.left { // what ends the whole ends the last frame
		tcp[tcpFlags] &^= flagFIN | flagPSH
	}
	if c.id > 0 { // RFC 3168, section 6.1.2: told once
		tcp[tcpFlags] &^= flagCWR
	}
	be.PutUint16(tcp[tcpCsum:], 0)
	be.PutUint16(tcp[tcpCsum:], ^checksum.Fold(checksum.Add(checksum.Pseudo(ip, protoTCP, len(tcp)), tcp)))
}

// setChecksum4 makes the checksum of the IPv4 header b.
func setChecksum4(b []byte) {
	binary.BigEndian.PutUint16(b[10:], 0)
	binary.BigEndian.PutUint16(b[10:], ^checksum.Fold(checksum.Add(0, b)))
}
