package bsd

import (
	"encoding/binary"
	"fmt"
)

// A Message is a *RouteMsg, a *LinkMsg or an *AddrMsg.
type Message interface {
	// Marshal returns the message in bytes.
	Marshal() ([]byte, error)
}

var le = binary.LittleEndian

// header is what every message begins with.
const sizeofHeader = 4

// Parse reads the first message of b and returns what follows it. The message is
// nil when it is of a type, or a version, that this package does not know. An
// error ends a list: nobody can tell where the next message begins.
func Parse(b []byte) (m Message, rest []byte, err error) {
	if len(b) < sizeofHeader {
		return nil, nil, fmt.Errorf("parse routing message: %w", ErrShort)
	}
	n := int(le.Uint16(b))
	if n < sizeofHeader || n > len(b) {
		return nil, nil, fmt.Errorf("parse routing message: length %d in %d bytes: %w", n, len(b), ErrShort)
	}
	one, rest := b[:n], b[n:]
	if one[2] != RtmVersion {
		return nil, rest, nil
	}
	switch typ := one[3]; typ {
	case RtmAdd, RtmDelete, RtmChange, RtmGet, RtmResolve:
		m, err = parseAs(one, new(RouteMsg))
	case RtmNewAddr, RtmDelAddr:
		m, err = parseAs(one, new(AddrMsg))
	case RtmIfinfo, RtmIfinfo2:
		m, err = parseAs(one, new(LinkMsg))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("parse routing message of type %d: %w", b[3], err)
	}
	return m, rest, nil
}

// parseAs lets m read b.
func parseAs[M interface {
	Message
	parse([]byte) error
}](b []byte, m M) (Message, error) {
	if err := m.parse(b); err != nil {
		return nil, err
	}
	return m, nil
}

// ParseAll reads a list of messages, as sysctl gives it.
func ParseAll(b []byte) ([]Message, error) {
	var all []Message
	for len(b) > 0 {
		m, rest, err := Parse(b)
		if err != nil {
			return all, err
		}
		if m != nil {
			all = append(all, m)
		}
		b = rest
	}
	return all, nil
}

// seal writes the length, the version and the type of a message.
func seal(b []byte, typ uint8) ([]byte, error) {
	if len(b) > 0xffff {
		return nil, fmt.Errorf("routing message of %d bytes: too long", len(b))
	}
	le.PutUint16(b, uint16(len(b)))
	b[2], b[3] = RtmVersion, typ
	return b, nil
}

// addrs are the addresses that follow a header.
type addrs struct {
	dst, gateway, ifp, ifa, brd *Sockaddr
	mask                        *Mask
	family                      func() uint8 // of the mask
}

// slots returns where each bit's address goes; nil: nowhere.
func (a addrs) slots() [8]*Sockaddr {
	return [8]*Sockaddr{0: a.dst, 1: a.gateway, 4: a.ifp, 5: a.ifa, 7: a.brd}
}

// parse reads the addresses that bits name.
func (a addrs) parse(b []byte, bits uint32) error {
	var mask []byte // the kind of a mask is that of an address that may follow it
	for i, to := range a.slots() {
		if bits&(1<<i) == 0 {
			continue
		}
		if 1<<i == rtaNetmask {
			_, n, err := cutSockaddr(b)
			if err != nil {
				return err
			}
			mask, b = b, b[n:]
			continue
		}
		s, n, err := parseSockaddr(b)
		if err != nil {
			return err
		}
		if to != nil {
			*to = s
		}
		b = b[n:]
	}
	if mask == nil || a.mask == nil {
		return nil
	}
	m, _, err := parseMask(mask, a.family())
	*a.mask = m
	return err
}

// appendTo appends the addresses that are there and returns their bits.
func (a addrs) appendTo(b []byte) ([]byte, uint32, error) {
	var bits uint32
	for i, s := range a.slots() {
		var err error
		switch {
		case 1<<i == rtaNetmask && a.mask != nil && a.mask.Set:
			var raw []byte
			raw, err = a.mask.bytes(a.family())
			b = append(b, raw...)
		case s != nil && s.Family != 0:
			b, err = s.appendTo(b)
		default:
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		bits |= 1 << i
	}
	return b, bits, nil
}
