package guest

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A Lease is what a DHCP server told the guest; what it did not tell is zero.
type Lease struct {
	Address   netip.Prefix // with the subnet's length
	Router    netip.Addr
	DNS       []netip.Addr
	Domain    string
	Search    []string
	Hostname  string
	MTU       int // bytes
	Routes    []Route
	Server    netip.Addr
	LeaseTime time.Duration
	T1, T2    time.Duration // renewal, rebinding
	// Message is the ACK as it came.
	Message *dhcpv4.DHCPv4
}

// A Route is one of option 121 (RFC 3442). A Via of 0.0.0.0 means on the link.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr
}

// parseLease reads an ACK.
func parseLease(m *dhcpv4.DHCPv4) (Lease, error) {
	addr := ip4(m.YourIPAddr)
	mask := m.SubnetMask()
	ones, bits := mask.Size()
	if !addr.IsValid() || addr.IsUnspecified() {
		return Lease{}, fmt.Errorf("ACK without an address: %s", m.Summary())
	}
	if bits != 32 {
		return Lease{}, fmt.Errorf("ACK with subnet mask %q: want a mask of 4 bytes without holes", mask)
	}
	l := Lease{
		Address: netip.PrefixFrom(addr, ones), Domain: m.DomainName(), Hostname: m.HostName(),
		Server: ip4(m.ServerIdentifier()), LeaseTime: m.IPAddressLeaseTime(0),
		T1: m.IPAddressRenewalTime(0), T2: m.IPAddressRebindingTime(0), Message: m,
	}
	if r := m.Router(); len(r) > 0 {
		l.Router = ip4(r[0])
	}
	for _, ip := range m.DNS() {
		l.DNS = append(l.DNS, ip4(ip))
	}
	if s := m.DomainSearch(); s != nil {
		l.Search = s.Labels
	}
	if b := m.Options.Get(dhcpv4.OptionInterfaceMTU); len(b) == 2 {
		l.MTU = int(b[0])<<8 | int(b[1])
	}
	for _, r := range m.ClasslessStaticRoute() {
		ones, _ := r.Dest.Mask.Size()
		l.Routes = append(l.Routes, Route{netip.PrefixFrom(ip4(r.Dest.IP), ones), ip4(r.Router)})
	}
	return l, nil
}

func ip4(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip.To4())
	return a
}

// SetLease configures the guest with a lease, as a DHCP client's script does:
// address, MTU and routes. DHCP calls it; a test may, for a fixed address.
func (g *Guest) SetLease(l Lease) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !l.Address.IsValid() || !l.Address.Addr().Is4() {
		return fmt.Errorf("lease address %s: want an IPv4 address with its length", l.Address)
	}
	if l.MTU != 0 {
		// Not above what the card can: the smaller of the two is right.
		if err := g.stack.SetNICMTU(nic, uint32(min(l.MTU, g.cfg.MTU))); err != nil {
			return fmt.Errorf("set MTU %d: %w", l.MTU, failure(err))
		}
	}
	if old := g.lease.Address; old != l.Address {
		if old.IsValid() {
			if err := g.stack.RemoveAddress(nic, address(old.Addr())); err != nil {
				return fmt.Errorf("remove address %s: %w", old, failure(err))
			}
		}
		err := g.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
			Protocol:          ipv4.ProtocolNumber,
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(l.Address.Addr()), PrefixLen: l.Address.Bits()},
		}, stack.AddressProperties{})
		if err != nil {
			return fmt.Errorf("add address %s: %w", l.Address, failure(err))
		}
	}
	g.stack.SetRouteTable(l.table())
	g.lease = l
	return nil
}

// table returns the guest's routes: the subnet, then those of option 121, else
// the default route (RFC 3442: with option 121 the router option is ignored).
func (l Lease) table() []tcpip.Route {
	routes := []tcpip.Route{{Destination: subnet(l.Address), NIC: nic}}
	for _, r := range l.Routes {
		route := tcpip.Route{Destination: subnet(r.Dst), NIC: nic}
		if !r.Via.IsUnspecified() {
			route.Gateway = address(r.Via)
		}
		routes = append(routes, route)
	}
	if len(l.Routes) == 0 && l.Router.IsValid() {
		routes = append(routes, tcpip.Route{Destination: header.IPv4EmptySubnet, Gateway: address(l.Router), NIC: nic})
	}
	return routes
}

func subnet(p netip.Prefix) tcpip.Subnet {
	p = p.Masked()
	return tcpip.AddressWithPrefix{Address: address(p.Addr()), PrefixLen: p.Bits()}.Subnet()
}
