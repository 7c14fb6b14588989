package dhcp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Infinity is the lifetime that never ends, of which DHCPv6 and router
// advertisements speak alike (RFC 8415, section 7.7; RFC 4861, section 4.6.2).
const Infinity = (1<<32 - 1) * time.Second

// ConfigV6 is what a ResponderV6 tells its guest. Only Addr is needed.
type ConfigV6 struct {
	// ServerMAC is where replies come from: the router's, which the guest resolves
	// no more after an advertisement. Nil: a locally administered address made
	// from GuestMAC.
	GuestMAC, ServerMAC net.HardwareAddr
	// ServerID is the Ethernet address of the server's identifier (DUID-LL), which a
	// guest minds when it renews. Nil: ServerMAC.
	ServerID net.HardwareAddr
	// Addr is the guest's IPv6 address; its length is that of the network's
	// prefix, 64.
	Addr netip.Prefix
	// Server is the link-local address that replies come from. Zero: the one that
	// ServerMAC makes (RFC 4291, appendix A).
	Server netip.Addr
	// Router says that Server is the guest's default router.
	Router bool
	// SLAAC has the guest make its address from prefix and MAC (RFC 4862). False:
	// it is told to ask for it by DHCPv6. DHCPv6 is answered either way.
	SLAAC bool
	// DNS are the name servers, IPv6, at most 16.
	DNS []netip.Addr
	// Search is the search list of at most 32 domains.
	Search []string
	// MTU in bytes, at least 1280. Zero: 1500.
	MTU int
	// LeaseTime of a DHCPv6 address. Zero: DefaultLeaseTime.
	LeaseTime time.Duration
	// OnDecline is told, from FromGuest, that a guest found the address in use.
	// It must not block. Nil: nobody is told.
	OnDecline func(Decline)
}

// LinkLocal returns the link-local address that belongs to an Ethernet address
// (RFC 4291, section 2.5.6 and appendix A).
func LinkLocal(mac net.HardwareAddr) netip.Addr {
	return EUI64(netip.MustParsePrefix("fe80::/64"), mac)
}

// EUI64 returns the address in a /64 that a guest with the given MAC makes by
// SLAAC, unless it makes random ones (RFC 4291, appendix A). It returns the zero
// Addr for other prefixes, and for what is no Ethernet address.
func EUI64(prefix netip.Prefix, mac net.HardwareAddr) netip.Addr {
	if !prefix.IsValid() || !prefix.Addr().Is6() || prefix.Bits() != 64 || len(mac) != 6 {
		return netip.Addr{}
	}
	a := prefix.Masked().Addr().As16()
	copy(a[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(a)
}

// complete checks the configuration and returns it with its defaults, sharing
// nothing with the caller's.
func (c ConfigV6) complete() (*ConfigV6, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("dhcp: %w: %w", ErrConfig, err)
	}
	c.GuestMAC, c.ServerMAC = bytes.Clone(c.GuestMAC), bytes.Clone(c.ServerMAC)
	c.DNS, c.Search = slices.Clone(c.DNS), slices.Clone(c.Search)
	for i, s := range c.Search {
		c.Search[i] = strings.TrimSuffix(s, ".")
	}
	if c.ServerMAC == nil {
		c.ServerMAC = serverMAC(c.GuestMAC)
	}
	c.ServerID = bytes.Clone(c.ServerID)
	if c.ServerID == nil {
		c.ServerID = c.ServerMAC
	}
	if !c.Server.IsValid() {
		c.Server = LinkLocal(c.ServerMAC)
	}
	if c.MTU == 0 {
		c.MTU = 1500
	}
	if c.LeaseTime == 0 {
		c.LeaseTime = DefaultLeaseTime
	}
	c.LeaseTime = c.LeaseTime.Round(time.Second)
	return &c, nil
}

func (c ConfigV6) check() error {
	if err := checkMACs(c.GuestMAC, c.ServerMAC); err != nil {
		return err
	}
	if c.ServerID != nil && len(c.ServerID) != 6 {
		return fmt.Errorf("field ServerID %s: want 6 bytes", c.ServerID)
	}
	a := c.Addr.Addr()
	if !c.Addr.IsValid() || !a.Is6() || a.Is4In6() || a.IsMulticast() || a.IsUnspecified() || c.Addr.Bits() != 64 {
		return fmt.Errorf("field Addr %s: want an IPv6 address with length 64", c.Addr)
	}
	if s := c.Server; s.IsValid() && (!s.Is6() || !s.IsLinkLocalUnicast() || s.Zone() != "") {
		return fmt.Errorf("field Server %s: want a link-local IPv6 address", s)
	}
	for _, a := range c.DNS {
		if !a.Is6() || a.Is4In6() || a.Zone() != "" {
			return fmt.Errorf("field DNS %s: want an IPv6 address", a)
		}
	}
	if len(c.DNS) > maxDNS {
		return fmt.Errorf("field DNS: %d addresses, want at most %d", len(c.DNS), maxDNS)
	}
	if c.MTU != 0 && (c.MTU < 1280 || c.MTU > 65535) {
		return fmt.Errorf("field MTU %d: want 1280 to 65535", c.MTU)
	}
	if c.LeaseTime != 0 && (c.LeaseTime < time.Second || c.LeaseTime > Infinity) {
		return fmt.Errorf("field LeaseTime %v: want 1s to 2^32-1 s", c.LeaseTime)
	}
	return c.checkSearch()
}

func (c ConfigV6) checkSearch() error {
	if len(c.Search) > maxSearch {
		return fmt.Errorf("field Search: %d domains, want at most %d", len(c.Search), maxSearch)
	}
	for _, name := range c.Search {
		if strings.TrimSuffix(name, ".") == "" {
			return errors.New(`field Search "": want a domain`)
		}
		if err := checkName(strings.TrimSuffix(name, ".")); err != nil {
			return err
		}
	}
	return nil
}

// checkMACs checks the fields GuestMAC and ServerMAC.
func checkMACs(guest, server net.HardwareAddr) error {
	for _, m := range [...]struct {
		name string
		mac  net.HardwareAddr
	}{{"GuestMAC", guest}, {"ServerMAC", server}} {
		if len(m.mac) != 0 && (len(m.mac) != 6 || m.mac[0]&1 != 0) {
			return fmt.Errorf("field %s %s: want a unicast Ethernet address", m.name, m.mac)
		}
	}
	return nil
}
