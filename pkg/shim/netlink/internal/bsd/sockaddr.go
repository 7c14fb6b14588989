package bsd

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// A Sockaddr is an address in a message: sockaddr_in (netinet/in.h), sockaddr_in6
// (netinet6/in6.h) or sockaddr_dl (net/if_dl.h). The zero Sockaddr is absent.
type Sockaddr struct {
	// Family is AFInet, AFInet6, AFLink, or another, of which no more is known.
	Family uint8
	// IP is the address of AFInet and AFInet6, without a zone.
	IP netip.Addr
	// Scope is the index of the interface that a link-local address belongs to,
	// 0 for none. Only AFInet6 has it.
	Scope uint32
	// Link is what AFLink tells.
	Link Link
}

// A Link names an interface, or a neighbour's hardware address on it.
type Link struct {
	Index uint16
	Type  uint8  // Ift…
	Name  string // at most 15 bytes
	HW    net.HardwareAddr
}

// IP returns the Sockaddr of an IP address. The scope of a link-local IPv6
// address is the index of its interface.
func IP(a netip.Addr, scope uint32) Sockaddr {
	a = a.Unmap().WithZone("")
	switch {
	case a.Is4():
		return Sockaddr{Family: AFInet, IP: a}
	case a.Is6() && scoped(a):
		return Sockaddr{Family: AFInet6, IP: a, Scope: scope}
	case a.Is6():
		return Sockaddr{Family: AFInet6, IP: a}
	}
	return Sockaddr{}
}

// OnLink returns the Sockaddr of an interface.
func OnLink(l Link) Sockaddr { return Sockaddr{Family: AFLink, Link: l} }

// scoped reports whether the kernel keeps the interface's index inside of an
// address (KAME's embedded scope): IN6_IS_SCOPE_LINKLOCAL and
// IN6_IS_ADDR_MC_INTFACELOCAL, netinet6/in6.h.
func scoped(a netip.Addr) bool {
	return a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast()
}

const (
	sizeofInet  = 16
	sizeofInet6 = 28
	dlData      = 8  // offset of sdl_data
	sizeofDL    = 20 // the least that is sent
	maxDL       = 255
)

// roundUp is ROUNDUP32 of net/rtsock.c: addresses of a message begin at multiples
// of 4 bytes, and an empty one takes 4.
func roundUp(n int) int {
	if n == 0 {
		return 4
	}
	return (n + 3) &^ 3
}

// appendTo appends the address, padded. IPv6 is given as the kernel wants it in a
// routing message: with the scope inside of the address too.
func (s Sockaddr) appendTo(b []byte) ([]byte, error) {
	raw, err := s.bytes(true)
	if err != nil {
		return b, err
	}
	b = append(b, raw...)
	return append(b, make([]byte, roundUp(len(raw))-len(raw))...), nil
}

// bytes returns the address alone. embed puts the scope into an IPv6 address.
func (s Sockaddr) bytes(embed bool) ([]byte, error) {
	switch s.Family {
	case AFInet:
		if !s.IP.Is4() {
			return nil, fmt.Errorf("sockaddr_in: %v is not an IPv4 address", s.IP)
		}
		b := make([]byte, sizeofInet)
		b[0], b[1] = sizeofInet, AFInet
		copy(b[4:], s.IP.AsSlice())
		return b, nil
	case AFInet6:
		return s.inet6(embed)
	case AFLink:
		return s.Link.bytes()
	}
	return nil, fmt.Errorf("sockaddr: family %d: want %d, %d or %d", s.Family, AFInet, AFInet6, AFLink)
}

func (s Sockaddr) inet6(embed bool) ([]byte, error) {
	if !s.IP.Is6() {
		return nil, fmt.Errorf("sockaddr_in6: %v is not an IPv6 address", s.IP)
	}
	b := make([]byte, sizeofInet6)
	b[0], b[1] = sizeofInet6, AFInet6
	a := s.IP.As16()
	copy(b[8:], a[:])
	if scoped(s.IP) && s.Scope != 0 {
		if s.Scope > 0xffff {
			return nil, fmt.Errorf("sockaddr_in6: scope %d: want an interface index of at most 65535", s.Scope)
		}
		if embed {
			binary.BigEndian.PutUint16(b[10:], uint16(s.Scope))
		}
		binary.LittleEndian.PutUint32(b[24:], s.Scope)
	}
	return b, nil
}

func (l Link) bytes() ([]byte, error) {
	n := dlData + len(l.Name) + len(l.HW)
	if len(l.Name) > 15 || n > maxDL {
		return nil, fmt.Errorf("sockaddr_dl: name %q and %d bytes of address: too long", l.Name, len(l.HW))
	}
	b := make([]byte, max(n, sizeofDL))
	b[0], b[1] = byte(len(b)), AFLink
	binary.LittleEndian.PutUint16(b[2:], l.Index)
	b[4], b[5], b[6] = l.Type, byte(len(l.Name)), byte(len(l.HW))
	copy(b[dlData:], l.Name)
	copy(b[dlData+len(l.Name):], l.HW)
	return b, nil
}

// parseSockaddr reads one address and returns how many bytes it takes. One that
// is shorter than its family's struct ends in zeros, as the kernel truncates.
func parseSockaddr(b []byte) (Sockaddr, int, error) {
	raw, n, err := cutSockaddr(b)
	if err != nil || len(raw) < 2 {
		return Sockaddr{}, n, err
	}
	s := Sockaddr{Family: raw[1]}
	switch s.Family {
	case AFInet:
		var full [sizeofInet]byte
		copy(full[:], raw)
		s.IP = netip.AddrFrom4([4]byte(full[4:8]))
	case AFInet6:
		s.parseInet6(raw)
	case AFLink:
		s.Link, err = parseLink(raw)
	}
	return s, n, err
}

// cutSockaddr returns the bytes of the first address of b, and what it takes with
// its padding, which the last one of a message may lack.
func cutSockaddr(b []byte) ([]byte, int, error) {
	if len(b) == 0 {
		return nil, 0, fmt.Errorf("sockaddr: %w", ErrShort)
	}
	size := int(b[0])
	if size > len(b) {
		return nil, 0, fmt.Errorf("sockaddr of %d bytes in %d: %w", size, len(b), ErrShort)
	}
	return b[:size], min(roundUp(size), len(b)), nil
}

func (s *Sockaddr) parseInet6(raw []byte) {
	var full [sizeofInet6]byte
	copy(full[:], raw)
	a := [16]byte(full[8:24])
	s.IP = netip.AddrFrom16(a)
	if !scoped(s.IP) {
		return
	}
	s.Scope = binary.LittleEndian.Uint32(full[24:])
	if inside := binary.BigEndian.Uint16(a[2:]); inside != 0 {
		s.Scope = uint32(inside)
		a[2], a[3] = 0, 0
		s.IP = netip.AddrFrom16(a)
	}
}

func parseLink(raw []byte) (Link, error) {
	if len(raw) < dlData {
		return Link{}, fmt.Errorf("sockaddr_dl of %d bytes: %w", len(raw), ErrShort)
	}
	l := Link{Index: binary.LittleEndian.Uint16(raw[2:]), Type: raw[4]}
	nlen, alen := int(raw[5]), int(raw[6])
	if dlData+nlen+alen > len(raw) {
		return Link{}, fmt.Errorf("sockaddr_dl of %d bytes with a name of %d and an address of %d: %w", len(raw), nlen, alen, ErrShort)
	}
	if nlen > 15 {
		return Link{}, fmt.Errorf("sockaddr_dl: name of %d bytes: want at most 15", nlen)
	}
	l.Name = string(raw[dlData : dlData+nlen])
	if alen > 0 {
		l.HW = append(net.HardwareAddr(nil), raw[dlData+nlen:dlData+nlen+alen]...)
	}
	return l, nil
}
