package tap

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// opErr is what went wrong with a link. That the kernel wants a privilege is
// vmnet.ErrPermission.
func opErr(op, object string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, fs.ErrPermission) && !errors.Is(err, vmnet.ErrPermission) {
		return fmt.Errorf("%s %s: %w (CAP_NET_ADMIN): %w", op, object, vmnet.ErrPermission, err)
	}
	return fmt.Errorf("%s %s: %w", op, object, err)
}

// tries is how often a list of the kernel's is read that changes meanwhile.
const tries = 5

// dump reads a list, again while it changes under the reader. What changes each time
// is returned as it was read last, with netlink.ErrDumpInterrupted.
func dump[T any](read func() (T, error)) (list T, err error) {
	for range tries {
		if list, err = read(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return list, err
}

// lookup returns the link, or nil when there is none.
func lookup(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return nil, nil
	}
	return l, opErr("look for", name, err)
}

// removeOurs deletes the link name, if it is there and has our mark. A link
// without it is an error.
func (d *Driver) removeOurs(name string) error {
	l, err := lookup(name)
	if err != nil || l == nil {
		return err
	}
	if !d.names.ours(l.Attrs()) {
		return fmt.Errorf("link %s: is not of this shim's making (alias %q): %w", name, l.Attrs().Alias, fs.ErrExist)
	}
	return deleteLink(l)
}

// newAttrs are the attributes of a link to be made, which mark completes.
func (d *Driver) newAttrs(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name, a.Group = name, d.names.group()
	return a
}

// mark gives a link its alias, in place of the group that it was made in: in one
// request, so that it has either.
func mark(l netlink.Link, alias string) error {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(l.Attrs().Index)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, native(0)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return opErr("mark", l.Attrs().Name, err)
}

// deleteLink deletes a link. That it is gone already is fine.
func deleteLink(l netlink.Link) error {
	err := netlink.LinkDel(l)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) { // EINVAL: a namespace's end took it meanwhile
		if still, lerr := lookup(l.Attrs().Name); lerr == nil && still == nil {
			return nil
		}
	}
	return opErr("delete link", l.Attrs().Name, err)
}

// sysctl writes a setting of an interface below /proc/sys/net. A kernel without
// IPv6 has none of its settings, and needs none.
func sysctl(family, name, key, value string) error {
	path := "/proc/sys/net/" + family + "/conf/" + name + "/" + key
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(old) > 0 && string(old[:len(old)-1]) == value {
		return nil
	}
	return opErr("set", path+" to "+value, os.WriteFile(path, []byte(value), 0o644))
}

// hostMAC is the address of the host's end of a device: that of the guest with
// another first byte, high, so that a bridge never takes it for its own.
func hostMAC(guest net.HardwareAddr) net.HardwareAddr {
	mac := append(net.HardwareAddr(nil), guest...)
	if mac[0] = 0xfe; guest[0] == 0xfe {
		mac[0] = 0xfa
	}
	return mac
}

// makePort makes a link what the device's port on the bridge is: marked, of the
// network's MTU, without IPv6 of its own, a port that is up.
func (n *network) makePort(name string, guest net.HardwareAddr) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return opErr("look for", name, err)
	}
	return errors.Join(
		mark(l, n.driver.names.alias(n.info.Name)),
		opErr("set mtu of", name, netlink.LinkSetMTU(l, n.info.MTU)),
		opErr("set address of", name, netlink.LinkSetHardwareAddr(l, hostMAC(guest))),
		sysctl("ipv6", name, "disable_ipv6", "1"),
		opErr("make port of bridge", name, netlink.LinkSetMasterByIndex(l, n.bridge)),
		opErr("isolate", name, n.isolate(l)),
		opErr("start", name, netlink.LinkSetUp(l)),
	)
}

func (n *network) isolate(l netlink.Link) error {
	if !n.info.Isolated {
		return nil // a new port is not isolated
	}
	return netlink.LinkSetIsolated(l, true)
}

// makeBridge makes the network's bridge, or takes up the one that a process before
// this one left.
func (n *network) makeBridge() error {
	name := n.driver.names.bridge(n.info.Name)
	alias := n.driver.names.alias(n.info.Name, n.info.Mode.String())
	old, err := lookup(name)
	if err != nil {
		return err
	}
	if old != nil && old.Type() == "bridge" && old.Attrs().Alias == alias {
		n.bridge, n.bridgeName = old.Attrs().Index, name
		return nil
	}
	if err := n.driver.removeOurs(name); err != nil {
		return err
	}
	no := false
	attrs := n.driver.newAttrs(name)
	if n.info.Mode != vmnet.Bridged {
		attrs.HardwareAddr = vmnet.GatewayMAC(n.info.Name)
	}
	br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &no}
	if err := netlink.LinkAdd(br); err != nil {
		return opErr("make bridge", name, err)
	}
	n.bridge, n.bridgeName = br.Index, name
	return mark(br, alias)
}

// startBridge gives the bridge its MTU and addresses and starts it.
func (n *network) startBridge() error {
	name := n.bridgeName
	l, err := netlink.LinkByName(name)
	if err != nil {
		return opErr("look for", name, err)
	}
	err = errors.Join(
		opErr("set mtu of", name, netlink.LinkSetMTU(l, n.info.MTU)),
		n.setIPv6(),
		opErr("start", name, netlink.LinkSetUp(l)),
	)
	for _, p := range n.gateways() {
		// No duplicate address detection: without a port it would never end.
		addr := &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}
		err = errors.Join(err, opErr("add address "+p.String()+" to", name, netlink.AddrReplace(l, addr)))
	}
	return err
}

// setIPv6 leaves the bridge only those IPv6 addresses that it is given.
func (n *network) setIPv6() error {
	if !n.info.Subnet6.IsValid() {
		return sysctl("ipv6", n.bridgeName, "disable_ipv6", "1")
	}
	return errors.Join(
		sysctl("ipv6", n.bridgeName, "disable_ipv6", "0"),
		sysctl("ipv6", n.bridgeName, "addr_gen_mode", "1"), // IN6_ADDR_GEN_MODE_NONE
		sysctl("ipv6", n.bridgeName, "accept_ra", "0"),
	)
}

// gateways are the addresses of the bridge: those of the gateway, and the
// link-local one that belongs to its MAC, from which routers advertise.
func (n *network) gateways() (list []netip.Prefix) {
	if n.info.Subnet.IsValid() {
		list = append(list, netip.PrefixFrom(n.info.Gateway, n.info.Subnet.Bits()))
	}
	if p := n.info.Subnet6; p.IsValid() {
		list = append(list, netip.PrefixFrom(vmnet.FirstAddr(p), p.Bits()), linkLocal(vmnet.GatewayMAC(n.info.Name)))
	}
	return list
}

// linkLocal is the address that a MAC makes (RFC 4291, appendix A).
func linkLocal(mac net.HardwareAddr) netip.Prefix {
	a := [16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]}
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
