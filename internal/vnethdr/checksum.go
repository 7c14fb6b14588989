package vnethdr

import "encoding/binary"

// The Internet checksum (RFC 1071) does not mind the byte order as long as sums are
// stored as they were added: all here have the machine's.

// add adds the words of b to sum, which packets of 64 KiB do not overflow. An odd
// last byte counts as if a zero followed it. Words of 32 bits in four sums are twice
// as quick as one of 64 bits with its carries.
func add(sum uint64, b []byte) uint64 {
	ne := binary.NativeEndian
	var s0, s1, s2, s3 uint64
	for len(b) >= 64 {
		s0 += uint64(ne.Uint32(b))
		s1 += uint64(ne.Uint32(b[4:]))
		s2 += uint64(ne.Uint32(b[8:]))
		s3 += uint64(ne.Uint32(b[12:]))
		s0 += uint64(ne.Uint32(b[16:]))
		s1 += uint64(ne.Uint32(b[20:]))
		s2 += uint64(ne.Uint32(b[24:]))
		s3 += uint64(ne.Uint32(b[28:]))
		s0 += uint64(ne.Uint32(b[32:]))
		s1 += uint64(ne.Uint32(b[36:]))
		s2 += uint64(ne.Uint32(b[40:]))
		s3 += uint64(ne.Uint32(b[44:]))
		s0 += uint64(ne.Uint32(b[48:]))
		s1 += uint64(ne.Uint32(b[52:]))
		s2 += uint64(ne.Uint32(b[56:]))
		s3 += uint64(ne.Uint32(b[60:]))
		b = b[64:]
	}
	sum += s0 + s1 + s2 + s3
	for len(b) >= 4 {
		sum += uint64(ne.Uint32(b))
		b = b[4:]
	}
	if len(b) > 0 {
		var last [4]byte
		copy(last[:], b)
		sum += uint64(ne.Uint32(last[:]))
	}
	return sum
}

// fold returns the sum in 16 bits.
func fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum&0xffff)
}

// pseudo returns the sum of the pseudo header of a TCP segment of size bytes in the
// IP packet ip (RFC 9293, section 3.1; RFC 8200, section 8.1).
func pseudo(ip []byte, size int) uint64 {
	var rest [8]byte
	binary.BigEndian.PutUint32(rest[:], uint32(size))
	rest[7] = protoTCP
	addrs := ip[12:20]
	if ip[0]>>4 == 6 {
		addrs = ip[8:40]
	}
	return add(add(0, addrs), rest[:])
}

// store writes a checksum, or a sum, where it goes.
func store(b []byte, sum uint16) { binary.NativeEndian.PutUint16(b, sum) }

// setIP4Checksum makes the checksum of the IPv4 header b.
func setIP4Checksum(b []byte) {
	store(b[10:], 0)
	store(b[10:], ^fold(add(0, b)))
}
