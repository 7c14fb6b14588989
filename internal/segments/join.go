package segments

import (
	"bytes"
	"encoding/binary"

	"github.com/vmnet-cni/vmnet/internal/checksum"
)

// A Joiner puts consecutive segments of a TCP connection together: what Linux calls
// generic receive offload, of which it does the same. The zero value is ready.
type Joiner struct {
	head [Len + ethLen + ip6Len + 60]byte // virtio-net header, and those of the frame
	skip int
}

// Join returns how many of frames, from the first on, make one packet: at least one,
// of at least one. The packet is Head and the bytes of each of them from Skip on.
func (j *Joiner) Join(frames [][]byte) int {
	clear(j.head[:Len])
	j.skip = 0
	n, first, size := run(frames)
	if n > 1 {
		j.lead(frames, n, first, size)
	}
	return n
}

// Head returns what is before the payload. It is valid until the next Join.
func (j *Joiner) Head() []byte { return j.head[:Len+j.skip] }

// Skip returns where the payload of each frame begins: 0 for one that stays alone.
func (j *Joiner) Skip() int { return j.skip }

// A segment tells of a frame that may be part of a larger one.
type segment struct {
	l4, headers int
	seq         uint32
	push        bool
}

// parse reports whether a frame may be part of a larger one: TCP with data and
// nothing out of the ordinary, no VLAN, no fragment, no padding.
func parse(f []byte) (s segment, ok bool) {
	if len(f) < ethLen+ip4Len+tcpLen {
		return s, false
	}
	be := binary.BigEndian
	ip := f[ethLen:]
	switch be.Uint16(f[12:]) {
	case 0x0800:
		if ip[0] != 0x45 || ip[9] != protoTCP || be.Uint16(ip[6:])&0x3fff != 0 || int(be.Uint16(ip[2:])) != len(ip) {
			return s, false
		}
		s.l4 = ethLen + ip4Len
	case 0x86dd:
		if len(ip) < ip6Len+tcpLen || ip[0]>>4 != 6 || ip[6] != protoTCP || int(be.Uint16(ip[4:])) != len(ip)-ip6Len {
			return s, false
		}
		s.l4 = ethLen + ip6Len
	default:
		return s, false
	}
	tcp := f[s.l4:]
	s.headers = s.l4 + int(tcp[tcpOff]>>4)*4
	if s.headers < s.l4+tcpLen || s.headers >= len(f) || tcp[tcpFlags]&^flagPSH != flagACK {
		return s, false
	}
	s.seq, s.push = be.Uint32(tcp[tcpSeq:]), tcp[tcpFlags]&flagPSH != 0
	return s, true
}

// run returns how many frames from the first on belong together, what the first is,
// and how many bytes of IP packet they make.
func run(frames [][]byte) (n int, first segment, size int) {
	f := frames[0]
	first, ok := parse(f)
	if !ok || first.push {
		return 1, first, 0
	}
	size = len(f) - ethLen
	full := len(f)
	next := first.seq + uint32(full-first.headers)
	for n = 1; n < len(frames); n++ {
		g := frames[n]
		s, ok := parse(g)
		if !ok || s.headers != first.headers || s.seq != next || len(g) > full || size+len(g)-s.headers > 65535 || !sameFlow(f, g, first.l4, n) {
			break
		}
		// Last: a checksum costs the most. Whoever gets the whole does not look at
		// those of its parts.
		if n == 1 && !intact(f, first.l4) || !intact(g, s.l4) {
			break
		}
		size += len(g) - s.headers
		next += uint32(len(g) - s.headers)
		if s.push || len(g) < full {
			return n + 1, first, size
		}
	}
	return n, first, size
}

// sameFlow reports whether the headers of f and of g, the nth frame after it, differ
// in nothing but what makes g a later segment of the same.
func sameFlow(f, g []byte, l4, n int) bool {
	a, b := f[ethLen:l4], g[ethLen:l4]
	if !bytes.Equal(f[:ethLen], g[:ethLen]) {
		return false
	}
	if len(a) == ip6Len {
		if !bytes.Equal(a[:4], b[:4]) || !bytes.Equal(a[6:], b[6:]) {
			return false
		}
	} else {
		be := binary.BigEndian
		// RFC 6864, section 4.1: with DF the identification means nothing.
		ordered := a[6]&0x40 != 0 || be.Uint16(b[4:]) == be.Uint16(a[4:])+uint16(n)
		if !ordered || !bytes.Equal(a[:2], b[:2]) || !bytes.Equal(a[6:10], b[6:10]) || !bytes.Equal(a[12:], b[12:]) {
			return false
		}
	}
	a, b = f[l4:], g[l4:]
	options := int(a[tcpOff]>>4) * 4
	return bytes.Equal(a[:4], b[:4]) && bytes.Equal(a[8:13], b[8:13]) && // ports; acknowledgement, length
		bytes.Equal(a[14:16], b[14:16]) && bytes.Equal(a[18:20], b[18:20]) && // window; urgent
		bytes.Equal(a[tcpLen:options], b[tcpLen:options])
}

// intact reports whether the checksums of a frame are right.
func intact(f []byte, l4 int) bool {
	if l4 == ethLen+ip4Len && checksum.Fold(checksum.Add(0, f[ethLen:l4])) != 0xffff {
		return false
	}
	return checksum.Fold(checksum.Add(checksum.Pseudo(f[ethLen:], protoTCP, len(f)-l4), f[l4:])) == 0xffff
}

// lead makes the head of the packet that the first n frames make: size bytes of IP.
func (j *Joiner) lead(frames [][]byte, n int, first segment, size int) {
	be := binary.BigEndian
	f, last := frames[0], frames[n-1]
	j.skip = first.headers
	copy(j.head[Len:], f[:j.skip])
	ip := j.head[Len+ethLen : Len+j.skip]
	tcp := j.head[Len+first.l4 : Len+j.skip]
	h := header{
		flags: flagNeedsCsum, gsoType: gsoTCPv4, hdrLen: uint16(j.skip), gsoSize: uint16(len(f) - j.skip),
		csumStart: uint16(first.l4), csumOffset: tcpCsum,
	}
	if ip[0]>>4 == 6 {
		h.gsoType = gsoTCPv6
		be.PutUint16(ip[4:], uint16(size-ip6Len))
	} else {
		be.PutUint16(ip[2:], uint16(size))
		setChecksum4(ip[:ip4Len])
	}
	h.put(j.head[:])
	tcp[tcpFlags] |= last[first.l4+tcpFlags] & flagPSH
	// What is left open is the checksum but for the pseudo header.
	be.PutUint16(tcp[tcpCsum:], checksum.Fold(checksum.Pseudo(ip, protoTCP, size-(first.l4-ethLen))))
}
