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

// DefaultLeaseTime is the lease time unless Config says otherwise. The address
// stays the guest's for as long as the attachment lives; an hour is how long a
// change of name servers, routes or MTU takes to arrive at the latest (half of
// it, at T1), and how long a guest keeps its address without a shim.
const DefaultLeaseTime = time.Hour

// Limits of a Config; what is over them could never be sent.
const (
	maxDNS    = 16
	maxRoutes = 64
	maxSearch = 32
)

// Config is what a Responder tells its guest. Only Addr is needed.
type Config struct {
	// GuestMAC is where replies go when a message bears no Ethernet address.
	GuestMAC net.HardwareAddr
	// ServerMAC is where replies come from. Nil: a locally administered address
	// made from GuestMAC.
	ServerMAC net.HardwareAddr
	// Addr is the guest's IPv4 address with the length of its subnet.
	Addr netip.Prefix
	// Gateway is the guest's default router. Zero: none.
	Gateway netip.Addr
	// ServerID is the server identifier, and where replies come from. Zero: the
	// gateway, or, when there is none, the last usable address of the subnet,
	// which package ipam gives to nobody. A guest asks it to renew the lease; if
	// nobody answers for it, the guest asks everybody (rebinding), which works
	// as well.
	ServerID netip.Addr
	// DNS are the name servers, IPv4, at most 16.
	DNS []netip.Addr
	// Domain is the guest's domain, Search its search list of at most 32.
	Domain string
	Search []string
	// Hostname is the guest's name.
	Hostname string
	// MTU in bytes. Zero: 1500.
	MTU int
	// Routes are routes besides the default route, at most 64. A route without a
	// gateway is on the link.
	Routes []Route
	// LeaseTime is rounded to seconds. Zero: DefaultLeaseTime.
	LeaseTime time.Duration
	// OnDecline is told, from FromGuest, that a guest found the address in use.
	// It must not block. Nil: nobody is told.
	OnDecline func(Decline)
}

// A Route is a route of the guest, IPv4.
type Route struct {
	Dst     netip.Prefix
	Gateway netip.Addr // zero: on the link
}

// A Decline is what a guest said when it found its address in use.
type Decline struct {
	Addr    netip.Addr // as the guest named it
	MAC     net.HardwareAddr
	Message string // option 56
}

// ErrConfig says that a Config cannot be; the text names field and value.
var ErrConfig = errors.New("invalid configuration")

// complete checks the configuration and returns it with its defaults, sharing
// nothing with the caller's.
func (c Config) complete() (*Config, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("dhcp: %w: %w", ErrConfig, err)
	}
	c.GuestMAC, c.ServerMAC = bytes.Clone(c.GuestMAC), bytes.Clone(c.ServerMAC)
	c.DNS, c.Search, c.Routes = slices.Clone(c.DNS), slices.Clone(c.Search), slices.Clone(c.Routes)
	for i, s := range c.Search {
		c.Search[i] = strings.TrimSuffix(s, ".")
	}
	if c.ServerMAC == nil {
		c.ServerMAC = serverMAC(c.GuestMAC)
	}
	if !c.ServerID.IsValid() {
		c.ServerID = c.Gateway
	}
	if !c.ServerID.IsValid() {
		c.ServerID = fallbackServer(c.Addr)
	}
	if c.MTU == 0 {
		c.MTU = 1500
	}
	if c.LeaseTime == 0 {
		c.LeaseTime = DefaultLeaseTime
	}
	return &c, nil
}

func (c Config) check() error {
	if err := checkMACs(c.GuestMAC, c.ServerMAC); err != nil {
		return err
	}
	if !c.Addr.IsValid() || !c.Addr.Addr().Is4() {
		return fmt.Errorf("field Addr %s: want an IPv4 address with a length", c.Addr)
	}
	for _, a := range append([]netip.Addr{c.Gateway, c.ServerID}, c.DNS...) {
		if a.IsValid() && !a.Is4() {
			return fmt.Errorf("address %s: want IPv4", a)
		}
	}
	if slices.Contains(c.DNS, netip.Addr{}) || len(c.DNS) > maxDNS {
		return fmt.Errorf("field DNS %v: want at most %d addresses", c.DNS, maxDNS)
	}
	if c.MTU != 0 && (c.MTU < 576 || c.MTU > 65535) {
		return fmt.Errorf("field MTU %d: want 576 to 65535", c.MTU)
	}
	if c.LeaseTime != 0 && (c.LeaseTime < time.Second || c.LeaseTime.Seconds() >= 1<<32-1) {
		return fmt.Errorf("field LeaseTime %v: want at least 1s and less than 2^32-1 s", c.LeaseTime)
	}
	return errors.Join(c.checkNames(), c.checkRoutes())
}

func (c Config) checkNames() error {
	if len(c.Search) > maxSearch {
		return fmt.Errorf("field Search: %d domains, want at most %d", len(c.Search), maxSearch)
	}
	for _, name := range append([]string{c.Domain, c.Hostname}, c.Search...) {
		if err := checkName(strings.TrimSuffix(name, ".")); err != nil {
			return err
		}
	}
	if slices.Contains(c.Search, "") {
		return errors.New(`field Search "": want a domain`)
	}
	return nil
}

// checkName checks the lengths that RFC 1035, section 2.3.4, allows.
func checkName(name string) error {
	if name == "" {
		return nil
	}
	if len(name) > 253 {
		return fmt.Errorf("name of %d bytes: want at most 253", len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsAny(label, "\x00 \t\r\n") {
			return fmt.Errorf("name %q: want labels of 1 to 63 bytes, without spaces", name)
		}
	}
	return nil
}

func (c Config) checkRoutes() error {
	if len(c.Routes) > maxRoutes {
		return fmt.Errorf("field Routes: %d, want at most %d", len(c.Routes), maxRoutes)
	}
	for _, r := range c.Routes {
		if !r.Dst.IsValid() || !r.Dst.Addr().Is4() || r.Gateway.IsValid() && !r.Gateway.Is4() {
			return fmt.Errorf("route %s via %s: want IPv4", r.Dst, r.Gateway)
		}
	}
	return nil
}

// serverMAC makes a locally administered address that is not the guest's.
func serverMAC(guest net.HardwareAddr) net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	copy(mac, guest)
	mac[0] = mac[0]&^1 | 2
	mac[5] ^= 0xff
	return mac
}

// fallbackServer returns an address of the subnet that no guest has: the last
// usable one, or the first if the guest has that. A subnet without a second
// address gets IPv4's dummy address (RFC 7600, section 6).
func fallbackServer(guest netip.Prefix) netip.Addr {
	if guest.Bits() == 32 {
		return netip.AddrFrom4([4]byte{192, 0, 0, 8})
	}
	first, last := guest.Masked().Addr(), broadcast(guest)
	if guest.Bits() < 31 {
		first, last = first.Next(), last.Prev()
	}
	if last == guest.Addr() {
		return first
	}
	return last
}

// broadcast returns the last address of the subnet.
func broadcast(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for i, m := range net.CIDRMask(p.Bits(), 32) {
		a[i] |= ^m
	}
	return netip.AddrFrom4(a)
}
