package bsd

import (
	"fmt"
	"math/bits"
)

// A Mask is a netmask in a message. The zero Mask is absent.
type Mask struct {
	Set bool
	// Bits is the length of the prefix, -1 if the mask has holes.
	Bits int
}

// Prefix returns the Mask of a prefix length.
func Prefix(n int) Mask { return Mask{Set: true, Bits: n} }

// where tells where the address lies in the sockaddr of a family, and its size.
func where(family uint8) (offset, size int) {
	if family == AFInet6 {
		return 8, 16
	}
	return 4, 4
}

// bytes returns the sockaddr of the mask for an address of a family.
func (m Mask) bytes(family uint8) ([]byte, error) {
	offset, size := where(family)
	if m.Bits < 0 || m.Bits > size*8 {
		return nil, fmt.Errorf("netmask: prefix length %d: want 0 to %d", m.Bits, size*8)
	}
	n := sizeofInet
	if family == AFInet6 {
		n = sizeofInet6
	}
	b := make([]byte, n)
	b[0], b[1] = byte(n), family
	for i := range m.Bits {
		b[offset+i/8] |= 0x80 >> (i % 8)
	}
	return b, nil
}

// parseMask reads a mask. The kernel leaves out the zeros at its end, and its
// family may be anything (net/rtsock.c, sbin/route).
func parseMask(b []byte, family uint8) (Mask, int, error) {
	raw, n, err := cutSockaddr(b)
	if err != nil {
		return Mask{}, 0, err
	}
	offset, size := where(family)
	var full [16]byte
	if len(raw) > offset {
		copy(full[:size], raw[offset:])
	}
	m, end := Mask{Set: true}, false
	for _, x := range full[:size] {
		ones := bits.LeadingZeros8(^x)
		if x<<ones != 0 || end && x != 0 {
			return Mask{Set: true, Bits: -1}, n, nil
		}
		m.Bits += ones
		end = end || ones < 8
	}
	return m, n, nil
}
