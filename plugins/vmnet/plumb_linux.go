package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink"
)

// plumb makes the interface of the attachment in the namespace: a tap whose frames
// the shim moves or, where the driver is the kernel's, a link that it makes. The link goes away with the attachment, or with the
// namespace; when plumb fails and the attachment is deleted, nothing is left.
func plumb(ctx context.Context, client *shim.Client, a shim.Attachment, ns *os.File, routes []*types.Route) error {
	if a.Driver == shim.DriverTap {
		if err := within(ns, func() error { return absent(a.IfName) }); err != nil {
			return err
		}
		if err := client.Give(ctx, a, ns); err != nil {
			return fmt.Errorf("plug into CNI_NETNS: %w", err)
		}
		return within(ns, func() error { return configure(a, routes) })
	}
	var tap *os.File
	err := within(ns, func() (err error) {
		if tap, err = newTap(a.IfName); err != nil {
			return err
		}
		return configure(a, routes)
	})
	if tap != nil {
		defer tap.Close() // the shim has a duplicate, or nobody
	}
	if err != nil {
		return err
	}
	return client.Give(ctx, a, tap)
}

// newTap makes a tap in the calling thread's namespace, with a virtio-net header so that
// the shim can have large segments of its kernel. It is there as long as the file is
// open somewhere.
func newTap(name string) (*os.File, error) {
	if err := absent(name); err != nil {
		return nil, err
	}
	const device = "/dev/net/tun"
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errorf(codeUnsupported, "CNI_NETNS: is a network namespace, which needs %s: %w", device, err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
		err = os.NewSyscallError("ioctl TUNSETIFF", unix.IoctlIfreq(fd, unix.TUNSETIFF, req))
	}
	if err != nil {
		return nil, fmt.Errorf("make tap %s: %w", name, errors.Join(err, unix.Close(fd)))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// absent refuses a name that an interface of the calling thread's namespace has.
func absent(name string) error {
	_, err := netlink.LinkByName(name)
	switch {
	case err == nil:
		return errorf(codeConflict, "interface %q is in CNI_NETNS already: want another CNI_IFNAME", name)
	case errors.As(err, new(netlink.LinkNotFoundError)):
		return nil
	}
	return fmt.Errorf("look for interface %s: %w", name, err)
}

// configure gives the link of the attachment, in the calling thread's namespace,
// its MAC, MTU, addresses and routes.
func configure(a shim.Attachment, routes []*types.Route) error {
	link, err := netlink.LinkByName(a.IfName)
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(a.MAC)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetHardwareAddr(link, mac); err != nil {
		return fmt.Errorf("set mac %s: %w", mac, err)
	}
	if err := netlink.LinkSetMTU(link, a.MTU); err != nil {
		return fmt.Errorf("set mtu %d: %w", a.MTU, err)
	}
	if err := setIPv6(a); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", a.IfName, err)
	}
	for _, ip := range a.IPs {
		addr := ipNet(ip.Address, false)
		// The shim sees to it that nobody else has the address, so that there is
		// nothing to wait for (RFC 4862, section 5.4).
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: &addr, Flags: nodad(ip)}); err != nil {
			return fmt.Errorf("add address %s: %w", ip.Address, err)
		}
	}
	for _, r := range routes {
		if err := addRoute(link, a, r); err != nil {
			return fmt.Errorf("add route %s: %w", r.Dst.String(), err)
		}
	}
	return nil
}

func nodad(ip shim.IP) int {
	if ip.Address.Addr().Is4() {
		return 0
	}
	return unix.IFA_F_NODAD
}

// setIPv6 has the kernel take the addresses that are set and make none from router
// advertisements: CHECK could not tell those from drift.
func setIPv6(a shim.Attachment) error {
	dir := filepath.Join("/proc/sys/net/ipv6/conf", a.IfName)
	for _, ip := range a.IPs {
		if ip.Address.Addr().Is4() {
			continue
		}
		off, err := os.ReadFile(filepath.Join(dir, "disable_ipv6"))
		if err == nil && strings.TrimSpace(string(off)) != "0" {
			err = os.WriteFile(filepath.Join(dir, "disable_ipv6"), []byte("0"), 0)
		}
		if err != nil {
			return fmt.Errorf("address %s: %w", ip.Address, err)
		}
	}
	err := os.WriteFile(filepath.Join(dir, "accept_ra"), []byte("0"), 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EROFS) {
		return nil // a kernel without IPv6; or it stays as the container has it
	}
	return err
}

// addRoute adds a route. One without a gateway is by that of the address of its
// version, as in the specification. Where another interface has a route to the same
// destination, that one stays before ours.
func addRoute(link netlink.Link, a shim.Attachment, r *types.Route) error {
	route := routeOf(link, a, r)
	err := netlink.RouteAdd(&route)
	if errors.Is(err, unix.EEXIST) && route.Priority == 0 {
		route.Priority = secondRoute + link.Attrs().Index
		err = netlink.RouteAdd(&route)
	}
	return err
}

// secondRoute is the metric of routes of which others have the first; the index of
// the interface is added. IPv6 routes have 1024 when none is said.
const secondRoute = 2048

func routeOf(link netlink.Link, a shim.Attachment, r *types.Route) netlink.Route {
	dst := r.Dst
	route := netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: &dst, Gw: gatewayOf(a, r),
		MTU: r.MTU, AdvMSS: r.AdvMSS, Priority: r.Priority,
	}
	if r.Table != nil {
		route.Table = *r.Table
	}
	if r.Scope != nil {
		route.Scope = netlink.Scope(*r.Scope)
	} else if route.Gw == nil {
		route.Scope = unix.RT_SCOPE_LINK
	}
	return route
}

// gatewayOf returns the gateway of a route, or nil for one that needs none.
func gatewayOf(a shim.Attachment, r *types.Route) net.IP {
	if r.GW != nil {
		return r.GW
	}
	for _, ip := range a.IPs {
		if ip.Gateway.IsValid() && ip.Gateway.Is4() == (r.Dst.IP.To4() != nil) {
			return ip.Gateway.AsSlice()
		}
	}
	return nil
}

// checkLink lists what differs between the result and the link in the namespace.
func checkLink(ns *os.File, name string, a shim.Attachment, res *types100.Result, ours *types100.Interface) (drift []string, err error) {
	err = within(ns, func() error {
		link, err := netlink.LinkByName(name)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			drift = append(drift, fmt.Sprintf("interface %s: is not in CNI_NETNS", name))
			return nil
		}
		if err != nil {
			return err
		}
		drift, err = compareLink(link, a, res, ours)
		return err
	})
	if !inNamespace(a) {
		drift = append(drift, fmt.Sprintf("interface %s: the shim does not have its other end: no frame moves", name))
	}
	return drift, err
}

func compareLink(link netlink.Link, a shim.Attachment, res *types100.Result, ours *types100.Interface) (drift []string, err error) {
	attrs := link.Attrs()
	differs := func(format string, args ...any) {
		drift = append(drift, "interface "+attrs.Name+": "+fmt.Sprintf(format, args...))
	}
	if attrs.Flags&net.FlagUp == 0 {
		differs("is down")
	}
	if mac, err := net.ParseMAC(ours.Mac); err != nil || mac.String() != attrs.HardwareAddr.String() {
		differs("mac: result has %s, link has %s", show(ours.Mac), attrs.HardwareAddr)
	}
	if want := ours.Mtu; want != 0 && want != attrs.MTU || want == 0 && attrs.MTU != a.MTU {
		differs("mtu: result has %d, link has %d", want, attrs.MTU)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	for _, ip := range a.IPs {
		if !hasAddress(addrs, ip) {
			differs("address %s: link does not have it", ip.Address)
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: attrs.Index, Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, err
	}
	for _, r := range ourRoutes(a, res) {
		if !hasLinkRoute(routes, routeOf(link, a, r)) {
			differs("route %s: is not there", r.Dst.String())
		}
	}
	return drift, nil
}

func hasAddress(addrs []netlink.Addr, ip shim.IP) bool {
	for _, have := range addrs {
		ones, _ := have.Mask.Size()
		if addrOf(have.IP) == ip.Address.Addr() && ones == ip.Address.Bits() {
			return true
		}
	}
	return false
}

// hasLinkRoute compares destination and gateway: a later plugin may have changed
// what else there is to a route.
func hasLinkRoute(routes []netlink.Route, want netlink.Route) bool {
	for _, have := range routes {
		dst := have.Dst
		if dst == nil { // how upstream once told of a default route
			dst = &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
		}
		if dst.String() == want.Dst.String() && have.Gw.Equal(want.Gw) {
			return true
		}
	}
	return false
}

// ourRoutes returns those of the result that the attachment's network made.
func ourRoutes(a shim.Attachment, res *types100.Result) (list []*types.Route) {
	for _, r := range res.Routes {
		dst, ok := prefixOf(r.Dst)
		if !ok {
			continue
		}
		for _, own := range a.Routes {
			if own.Dst == dst.Masked() {
				list = append(list, r)
				break
			}
		}
	}
	return list
}
