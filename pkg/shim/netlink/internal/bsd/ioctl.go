package bsd

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
)

// Requests of ioctl, SIOC (sys/sockio.h, netinet6/in6_var.h; SIOCSIFDESC and
// SIOCGIFDESC: sys/sockio_private.h).
const (
	SIOCGIFFLAGS    = 0xc0206911
	SIOCSIFFLAGS    = 0x80206910
	SIOCSIFMTU      = 0x80206934
	SIOCSIFLLADDR   = 0x8020693c
	SIOCIFCREATE2   = 0xc020697a
	SIOCIFDESTROY   = 0x80206979
	SIOCAIFADDR     = 0x8040691a
	SIOCDIFADDR     = 0x80206919
	SIOCAIFADDR_IN6 = 0x8080691a //nolint:revive // the header's name
	SIOCDIFADDR_IN6 = 0x81206919 //nolint:revive // the header's name
	SIOCSDRVSPEC    = 0x8028697b
	SIOCGDRVSPEC    = 0xc028697b
	SIOCSIFDESC     = 0xc094698f
	SIOCGIFDESC     = 0xc0946990
)

// Commands of SIOCSDRVSPEC and SIOCGDRVSPEC: BRDG (net/if_bridgevar.h), and
// IF_FAKE_ (net/if_fake_var.h), whose numbers are the same in both directions.
const (
	BrdgAdd      = 0 // set, ifbreq
	BrdgDel      = 1 // set, ifbreq
	BrdgGIfFlags = 2 // get, ifbreq
	FakeSetPeer  = 1 // set, if_fake_request
	FakeGetPeer  = 1 // get, if_fake_request
)

// nameSize is IFNAMSIZ: a name and its zero.
const nameSize = 16

// putName writes the name that every request begins with.
func putName(b []byte, name string) error {
	if name == "" || len(name) >= nameSize || bytes.IndexByte([]byte(name), 0) >= 0 {
		return fmt.Errorf("interface name %q: want 1 to %d bytes", name, nameSize-1)
	}
	copy(b, name)
	return nil
}

// cString returns the bytes of b before the first zero.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// Ifreq is struct ifreq (net/if.h): a name, and 16 bytes of a union.
type Ifreq [32]byte

// NewIfreq returns the request of an interface, whose union is zero.
func NewIfreq(name string) (r Ifreq, err error) { return r, putName(r[:nameSize], name) }

// Name returns the name, which SIOCIFCREATE2 completes.
func (r *Ifreq) Name() string { return cString(r[:nameSize]) }

// Flags returns ifr_flags.
func (r *Ifreq) Flags() uint16 { return le.Uint16(r[nameSize:]) }

// SetFlags sets ifr_flags.
func (r *Ifreq) SetFlags(f uint16) { le.PutUint16(r[nameSize:], f) }

// SetMTU sets ifr_mtu.
func (r *Ifreq) SetMTU(mtu int32) { le.PutUint32(r[nameSize:], uint32(mtu)) }

// SetHW sets ifr_addr to a hardware address, as SIOCSIFLLADDR takes it: sa_len is
// the length of the address (ifconfig's ifether.c).
func (r *Ifreq) SetHW(hw net.HardwareAddr) error {
	if len(hw) == 0 || len(hw) > 14 {
		return fmt.Errorf("hardware address of %d bytes: want 1 to 14", len(hw))
	}
	r[nameSize], r[nameSize+1] = byte(len(hw)), AFLink
	copy(r[nameSize+2:], hw)
	return nil
}

// SetIP sets ifr_addr to an IPv4 address.
func (r *Ifreq) SetIP(a netip.Addr) error { return putSockaddr(r[nameSize:], a, AFInet) }

func putSockaddr(b []byte, a netip.Addr, family uint8) error {
	s := IP(a, 0)
	if s.Family != family {
		return fmt.Errorf("address %v: is not of family %d", a, family)
	}
	raw, err := s.bytes(false)
	copy(b, raw)
	return err
}

// Aliasreq returns struct ifaliasreq (net/if.h): an IPv4 address, its mask and its
// broadcast address, or the other end of a point-to-point link. An other that is
// not valid is left out.
func Aliasreq(name string, a netip.Prefix, other netip.Addr) (r [64]byte, err error) {
	if err := putName(r[:nameSize], name); err != nil {
		return r, err
	}
	if err := putSockaddr(r[16:32], a.Addr(), AFInet); err != nil {
		return r, err
	}
	if other.IsValid() {
		if err := putSockaddr(r[32:48], other, AFInet); err != nil {
			return r, err
		}
	}
	mask, err := Prefix(a.Bits()).bytes(AFInet)
	copy(r[48:], mask)
	return r, err
}

// infinite is ND6_INFINITE_LIFETIME (netinet6/nd6.h).
const infinite = 0xffffffff

// Aliasreq6 returns struct in6_aliasreq (netinet6/in6_var.h): an IPv6 address, and
// its lifetimes in seconds, 0 for ever. The interface of a link-local address is
// that of the request.
func Aliasreq6(name string, a netip.Prefix, valid, preferred uint32) (r [128]byte, err error) {
	if err := putName(r[:nameSize], name); err != nil {
		return r, err
	}
	if err := putSockaddr(r[16:44], a.Addr(), AFInet6); err != nil {
		return r, err
	}
	mask, err := Prefix(a.Bits()).bytes(AFInet6)
	copy(r[72:100], mask)
	for i, v := range []uint32{valid, preferred} {
		if v == 0 {
			v = infinite
		}
		le.PutUint32(r[120+4*i:], v)
	}
	return r, err
}

// Ifreq6 returns struct in6_ifreq (netinet6/in6_var.h) with an address.
func Ifreq6(name string, a netip.Addr) (r [288]byte, err error) {
	if err := putName(r[:nameSize], name); err != nil {
		return r, err
	}
	return r, putSockaddr(r[nameSize:], a, AFInet6)
}

// Ifdrv returns struct ifdrv (net/if.h): a command of a driver, and where its
// argument lies. The caller keeps it there.
func Ifdrv(name string, cmd uint64, addr uintptr, size int) (r [40]byte, err error) {
	le.PutUint64(r[16:], cmd)
	le.PutUint64(r[24:], uint64(size))
	le.PutUint64(r[32:], uint64(addr))
	return r, putName(r[:nameSize], name)
}

// Ifbreq returns struct ifbreq (net/if_bridgevar.h), which names a member of a
// bridge.
func Ifbreq(member string) (r [80]byte, err error) { return r, putName(r[:nameSize], member) }

// FakeRequest returns struct if_fake_request (net/if_fake_var.h), which names a
// peer; none when it is empty.
func FakeRequest(peer string) (r [160]byte, err error) {
	if peer == "" {
		return r, nil
	}
	return r, putName(r[32:48], peer)
}

// FakePeer returns the peer that a request names.
func FakePeer(r [160]byte) string { return cString(r[32:48]) }

// descSize is IF_DESCSIZE (net/if.h).
const descSize = 128

// Descreq returns struct if_descreq (net/if.h), which sets the description of an
// interface, or ends it when the text is empty.
func Descreq(name, text string) (r [148]byte, err error) {
	if len(text) >= descSize {
		return r, fmt.Errorf("alias of %d bytes: want at most %d", len(text), descSize-1)
	}
	le.PutUint32(r[16:], uint32(len(text)))
	copy(r[20:], text)
	return r, putName(r[:nameSize], name)
}

// AskDescription returns struct if_descreq as SIOCGIFDESC takes it.
func AskDescription(name string) (r [148]byte, err error) {
	le.PutUint32(r[16:], descSize)
	return r, putName(r[:nameSize], name)
}

// Description returns the text of a request that was answered.
func Description(r [148]byte) string {
	n := min(int(le.Uint32(r[16:])), descSize)
	return cString(r[20 : 20+n])
}
