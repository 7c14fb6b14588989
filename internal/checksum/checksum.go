// Package checksum sums as IP, TCP, UDP and ICMP do (RFC 1071), for packages that
// make or look at frames and do not link gVisor, which has its own.
package checksum

import (
	"encoding/binary"
	"math/bits"
)

// native says whether the machine's words have the network's byte order.
var native = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

// Add returns sum and the 16-bit words of b, in network byte order; if b has an odd
// length, a zero follows it, so only the last part of what is summed may. Sums of
// some thousand parts do not overflow.
func Add(sum uint32, b []byte) uint32 {
	part := fold(words(b))
	if !native {
		part = bits.ReverseBytes16(part) // RFC 1071, section 2 (B)
	}
	return sum + uint32(part)
}

// Fold returns a sum in 16 bits. What goes into a packet is its complement.
func Fold(sum uint32) uint16 { return fold(uint64(sum)) }

// UDP returns the complement of a sum as UDP wants it: zero would say that there is
// none (RFC 768). For TCP both forms are the same number.
func UDP(sum uint32) uint16 {
	if c := ^Fold(sum); c != 0 {
		return c
	}
	return 0xffff
}

// Pseudo returns the sum of the pseudo header of the IP packet ip, whose header is
// whole and valid, for a payload of size bytes of the protocol proto (RFC 9293,
// section 3.1; RFC 8200, section 8.1).
func Pseudo(ip []byte, proto uint8, size int) uint32 {
	addrs := ip[12:20]
	if ip[0]>>4 == 6 {
		addrs = ip[8:40]
	}
	return Add(uint32(proto)+uint32(size), addrs)
}

// words adds the 32-bit words of b in the machine's byte order. Four sums are twice
// as quick as one of 64 bits with its carries.
func words(b []byte) uint64 {
	ne := binary.NativeEndian
	var s0, s1, s2, s3 uint64
	for len(b) >= 64 {
		s0 += uint64(ne.Uint32(b)) + uint64(ne.Uint32(b[16:])) + uint64(ne.Uint32(b[32:])) + uint64(ne.Uint32(b[48:]))
		s1 += uint64(ne.Uint32(b[4:])) + uint64(ne.Uint32(b[20:])) + uint64(ne.Uint32(b[36:])) + uint64(ne.Uint32(b[52:]))
		s2 += uint64(ne.Uint32(b[8:])) + uint64(ne.Uint32(b[24:])) + uint64(ne.Uint32(b[40:])) + uint64(ne.Uint32(b[56:]))
		s3 += uint64(ne.Uint32(b[12:])) + uint64(ne.Uint32(b[28:])) + uint64(ne.Uint32(b[44:])) + uint64(ne.Uint32(b[60:]))
		b = b[64:]
	}
	sum := s0 + s1 + s2 + s3
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(ne.Uint32(b))
	}
	if len(b) > 0 {
		var last [4]byte
		copy(last[:], b)
		sum += uint64(ne.Uint32(last[:]))
	}
	return sum
}

func fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum&0xffff)
}
