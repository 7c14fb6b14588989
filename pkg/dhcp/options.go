package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// optionMSRoutes is Microsoft's number for classless routes: Windows asks for it
// as well as, long ago instead of, 121 ([MS-DHCPE], section 2.2.8).
const optionMSRoutes = dhcpv4.GenericOptionCode(249)

// dropOrder is the order in which options are left out of a reply that is too
// long: the least missed first.
var dropOrder = [...]dhcpv4.OptionCode{
	dhcpv4.OptionDNSDomainSearchList,
	optionMSRoutes,
	dhcpv4.OptionBroadcastAddress,
	dhcpv4.OptionHostName,
	dhcpv4.OptionDomainName,
	dhcpv4.OptionInterfaceMTU,
	dhcpv4.OptionClasslessStaticRoute,
	dhcpv4.OptionRebindingTimeValue,
	dhcpv4.OptionRenewTimeValue,
	dhcpv4.OptionClientIdentifier,
	dhcpv4.OptionDomainNameServer,
}

const (
	fixedLen   = 240 // of a message, cookie included
	defaultMax = 576 // bytes of an IP packet (RFC 2131, section 2)
)

// room returns how many bytes of options a reply may have, the end option
// included.
func (x *exchange) room() int {
	most := defaultMax
	if b := x.req.Options.Get(dhcpv4.OptionMaximumDHCPMessageSize); len(b) == 2 {
		most = max(most, int(binary.BigEndian.Uint16(b)))
	}
	return min(most, max(x.cfg.MTU, defaultMax)) - ipLen - udpLen - fixedLen
}

// fit leaves options out until the rest has at most room bytes.
func fit(opts dhcpv4.Options, room int) {
	for _, code := range dropOrder {
		if optionsLen(opts) <= room {
			return
		}
		opts.Del(code)
	}
}

// optionsLen returns the encoded length, with the end option. An option longer
// than 255 bytes is split (RFC 3396).
func optionsLen(opts dhcpv4.Options) int {
	n := 1
	for _, v := range opts {
		n += len(v) + 2*max(1, (len(v)+254)/255)
	}
	return n
}

// leaseOptions returns the options of a reply that gives the lease.
func (x *exchange) leaseOptions() dhcpv4.Options {
	opts := x.options()
	t := x.cfg.LeaseTime.Round(time.Second)
	opts.Update(dhcpv4.OptIPAddressLeaseTime(t))
	opts.Update(dhcpv4.OptRenewTimeValue(t / 2))         // RFC 2131, section 4.4.5
	opts.Update(dhcpv4.OptRebindingTimeValue(t / 8 * 7)) // as above
	return opts
}

// options returns what the client is told besides its lease.
func (x *exchange) options() dhcpv4.Options {
	c, opts := x.cfg, make(dhcpv4.Options)
	opts.Update(dhcpv4.OptSubnetMask(net.CIDRMask(c.Addr.Bits(), 32)))
	if c.Gateway.IsValid() {
		opts.Update(dhcpv4.OptRouter(ips(c.Gateway)...))
	}
	if len(c.DNS) > 0 {
		opts.Update(dhcpv4.OptDNS(ips(c.DNS...)...))
	}
	if c.MTU != 1500 || x.asks(dhcpv4.OptionInterfaceMTU) {
		opts.Update(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, binary.BigEndian.AppendUint16(nil, uint16(c.MTU))))
	}
	if c.Addr.Bits() < 31 && x.asks(dhcpv4.OptionBroadcastAddress) {
		opts.Update(dhcpv4.OptBroadcastAddress(ips(broadcast(c.Addr))[0]))
	}
	x.addNames(opts)
	x.addRoutes(opts)
	return opts
}

// asks reports whether the client wants the option: its list has it, or it has
// no list.
func (x *exchange) asks(code dhcpv4.OptionCode) bool {
	list := x.req.Options.Get(dhcpv4.OptionParameterRequestList)
	return list == nil || slices.Contains(list, code.Code())
}

func (x *exchange) addNames(opts dhcpv4.Options) {
	c := x.cfg
	if c.Hostname != "" && x.asks(dhcpv4.OptionHostName) {
		opts.Update(dhcpv4.OptHostName(c.Hostname))
	}
	if c.Domain != "" && x.asks(dhcpv4.OptionDomainName) {
		opts.Update(dhcpv4.OptDomainName(c.Domain))
	}
	if len(c.Search) > 0 && x.asks(dhcpv4.OptionDNSDomainSearchList) {
		opts.Update(dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: c.Search}))
	}
}

// addRoutes adds the routes. A client that reads option 121 does not read option
// 3 (RFC 3442), so the default route is among them.
func (x *exchange) addRoutes(opts dhcpv4.Options) {
	if len(x.cfg.Routes) == 0 {
		return
	}
	var routes dhcpv4.Routes
	hasDefault := false
	for _, r := range x.cfg.Routes {
		hasDefault = hasDefault || r.Dst.Bits() == 0
		routes = append(routes, route(r))
	}
	if x.cfg.Gateway.IsValid() && !hasDefault {
		routes = append(routes, route(Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: x.cfg.Gateway}))
	}
	switch {
	case x.asks(dhcpv4.OptionClasslessStaticRoute):
		opts.Update(dhcpv4.OptClasslessStaticRoute(routes...))
	case x.asks(optionMSRoutes):
		opts.Update(dhcpv4.OptGeneric(optionMSRoutes, routes.ToBytes()))
	}
}

// route returns the codec's form. A router of 0.0.0.0 means the link (RFC 3442,
// "local subnet routes").
func route(r Route) *dhcpv4.Route {
	router := r.Gateway
	if !router.IsValid() {
		router = netip.IPv4Unspecified()
	}
	dst := r.Dst.Masked().Addr().As4()
	return &dhcpv4.Route{
		Dest:   &net.IPNet{IP: dst[:], Mask: net.CIDRMask(r.Dst.Bits(), 32)},
		Router: ips(router)[0],
	}
}

func ips(addrs ...netip.Addr) []net.IP {
	out := make([]net.IP, len(addrs))
	for i, a := range addrs {
		out[i] = a.AsSlice()
	}
	return out
}
