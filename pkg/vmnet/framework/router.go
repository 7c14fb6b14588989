//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

var _ vmnet.RouterFinder = (*network)(nil)

// Router implements vmnet.RouterFinder. The framework never tells the name of its
// bridge; it is the interface of the host that has the gateway's address.
func (n *network) Router(context.Context) (vmnet.Router, error) {
	info := n.Info()
	list, err := net.Interfaces()
	if err != nil {
		return vmnet.Router{}, fmt.Errorf("network %s: interfaces of the host: %w: %w", n.cfg.Name, vmnet.ErrNoRouter, err)
	}
	for _, i := range list {
		addrs, err := i.Addrs()
		if err != nil || len(i.HardwareAddr) != 6 {
			continue // gone in between, or no Ethernet
		}
		if r, ok := routerOf(i.HardwareAddr, addrs, info); ok {
			return r, nil
		}
	}
	return vmnet.Router{}, fmt.Errorf("network %s: gateway %s: %w", n.cfg.Name, info.Gateway, vmnet.ErrNoRouter)
}

// routerOf reports whether an interface with these addresses is the host's end of a
// network. One without a link-local address is not ready.
func routerOf(mac net.HardwareAddr, addrs []net.Addr, info vmnet.NetworkInfo) (r vmnet.Router, found bool) {
	r.MAC = mac
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		switch a := p.Addr().WithZone(""); {
		case a.IsLinkLocalUnicast() && a.Is6():
			r.LinkLocal = a
		case a == info.Gateway:
			found = true
		case info.Subnet6.IsValid() && info.Subnet6.Contains(a):
			found = true
			if first := vmnet.FirstAddr(info.Subnet6); !r.Addr6.IsValid() || a == first {
				r.Addr6 = a
			}
		}
	}
	return r, found && r.LinkLocal.IsValid()
}

// dropAdverts takes router advertisements out of the n frames that were read, and
// returns how many are left, in order. Shared networks before macOS 26 advertise a
// prefix and themselves as router, which cannot be switched off (the header of
// macOS 11; the shim advertises what the CNI result says). Hardly any frame is one.
func (d *device) dropAdverts(bufs [][]byte, sizes []int, n int) int {
	kept := 0
	for k := range n {
		if isAdvert(bufs[k][min(d.header, sizes[k]):sizes[k]]) {
			d.net.drv.adverts.Add(1)
			continue
		}
		if kept != k {
			sizes[kept] = copy(bufs[kept], bufs[k][:sizes[k]])
		}
		kept++
	}
	return kept
}

// isAdvert reports whether an Ethernet frame is a router advertisement (RFC 4861,
// section 4.2); the system sends them without extension headers.
func isAdvert(f []byte) bool {
	const etherIPv6, protoICMPv6, routerAdvertisement = 0x86dd, 58, 134
	return len(f) > 54 && f[54] == routerAdvertisement && f[20] == protoICMPv6 && binary.BigEndian.Uint16(f[12:]) == etherIPv6
}
