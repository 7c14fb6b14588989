package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// DialContext connects from the guest: network is "tcp", "tcp4", "udp" or
// "udp4", addr is a host and port. A host that is a name is looked up at the
// name server of the lease.
func (g *Guest) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	to, err := g.resolve(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s %s: %w", network, addr, err)
	}
	full := tcpip.FullAddress{NIC: nic, Addr: address(to.Addr()), Port: to.Port()}
	switch network {
	case "tcp", "tcp4":
		c, err := gonet.DialContextTCP(ctx, g.stack, full, ipv4.ProtocolNumber)
		if err != nil {
			return nil, err
		}
		return c, nil
	case "udp", "udp4":
		c, err := gonet.DialUDP(g.stack, nil, &full, ipv4.ProtocolNumber)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	return nil, fmt.Errorf("dial %s %s: %w", network, addr, net.UnknownNetworkError(network))
}

// Listen listens in the guest for TCP connections to a port of all its
// addresses. Port 0 is one that is free.
func (g *Guest) Listen(port uint16) (net.Listener, error) {
	l, err := gonet.ListenTCP(g.stack, tcpip.FullAddress{NIC: nic, Port: port}, ipv4.ProtocolNumber)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// ListenPacket receives UDP datagrams to a port of the guest.
func (g *Guest) ListenPacket(port uint16) (net.PacketConn, error) {
	c, err := gonet.DialUDP(g.stack, &tcpip.FullAddress{NIC: nic, Port: port}, nil, ipv4.ProtocolNumber)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// HTTPClient returns a client whose connections come from the guest.
func (g *Guest) HTTPClient() *http.Client { return g.http }

// resolve returns the address that "host:port" means.
func (g *Guest) resolve(ctx context.Context, hostport string) (netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: want a number up to 65535", service)
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		addrs, err := g.LookupHost(ctx, host)
		if err != nil {
			return netip.AddrPort{}, err
		}
		a = addrs[0]
	}
	if !a.Is4() {
		return netip.AddrPort{}, fmt.Errorf("address %s: this guest has IPv4 only: %w", a, errors.ErrUnsupported)
	}
	return netip.AddrPortFrom(a, uint16(port)), nil
}
