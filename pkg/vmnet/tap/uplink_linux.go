package tap

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// An uplink is the interface of the host through which guests of a bridged network
// reach the LAN.
type uplink struct {
	name   string
	index  int
	macvtp bool // it keeps its addresses: guests are macvtap interfaces
	port   bool // it is a port of our bridge
}

// findUplink decides how guests reach the uplink. done says that the network needs
// no bridge of its own.
func (n *network) findUplink() (done bool, err error) {
	l, err := lookup(n.info.Uplink)
	switch {
	case err != nil:
		return false, err
	case l == nil:
		return false, fmt.Errorf("uplink %q: no such interface: %w", n.info.Uplink, vmnet.InvalidArgument)
	case l.Attrs().MTU < n.info.MTU:
		return false, fmt.Errorf("mtu %d: uplink %s has %d: %w", n.info.MTU, n.info.Uplink, l.Attrs().MTU, vmnet.InvalidArgument)
	case n.driver.names.ours(l.Attrs()):
		return false, fmt.Errorf("uplink %q: is of another network of this shim: %w", n.info.Uplink, vmnet.InvalidArgument)
	}
	n.uplink = &uplink{name: n.info.Uplink, index: l.Attrs().Index}
	if l.Type() == "bridge" {
		n.bridge = l.Attrs().Index
		return true, nil
	}
	if master := l.Attrs().MasterIndex; master != 0 {
		return false, n.checkMaster(master)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return false, opErr("list addresses of", n.info.Uplink, err)
	}
	for _, a := range addrs {
		if !a.IP.IsLinkLocalUnicast() || a.IP.To4() != nil {
			n.uplink.macvtp = true
			return true, nil
		}
	}
	return false, nil
}

// checkMaster refuses an uplink that is part of something of the user's; one that
// is a port of the bridge of our own is as a process before this one left it.
func (n *network) checkMaster(index int) error {
	m, err := netlink.LinkByIndex(index)
	if err != nil {
		return opErr("look for the master of", n.info.Uplink, err)
	}
	if m.Attrs().Name == n.driver.names.bridge(n.info.Name) && n.driver.names.ours(m.Attrs()) {
		return nil
	}
	return fmt.Errorf("uplink %q: is a port of %s; name that, if it is a bridge: %w", n.info.Uplink, m.Attrs().Name, vmnet.InvalidArgument)
}

// enslave makes the uplink a port of the network's bridge.
func (n *network) enslave() error {
	l, err := n.link(n.uplink.name)
	if err != nil {
		return err
	}
	n.uplink.port = true
	if l.Attrs().Flags&unix.IFF_UP == 0 {
		n.driver.cfg.Log("network %s: uplink %s was down and is up from now on", n.info.Name, n.uplink.name)
	}
	return errors.Join(
		opErr("make port of bridge", n.uplink.name, netlink.LinkSetMasterByIndex(l, n.bridge)),
		opErr("start", n.uplink.name, netlink.LinkSetUp(l)),
	)
}

// release lets the uplink go.
func (n *network) release() error {
	if n.uplink == nil || !n.uplink.port {
		return nil
	}
	l, err := lookup(n.uplink.name)
	if err != nil || l == nil || l.Attrs().MasterIndex != n.bridge {
		return err
	}
	return opErr("release", n.uplink.name, netlink.LinkSetNoMaster(l))
}

func (n *network) macvlanMode() netlink.MacvlanMode {
	if n.info.Isolated {
		return netlink.MACVLAN_MODE_PRIVATE
	}
	return netlink.MACVLAN_MODE_BRIDGE
}

// openMacvtap makes the device's macvtap on the uplink, or takes up kept, which
// may be nil: the descriptor of the one that a process before this one made.
func (d *device) openMacvtap(ctx context.Context, kept *os.File, flags uint16) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l, err := lookup(d.name); err == nil && l != nil && kept != nil &&
		l.Attrs().ParentIndex == d.net.uplink.index && isTap(kept, d.name, flags) {
		d.file = kept
		return errors.Join(opErr("start", d.name, netlink.LinkSetUp(l)), d.adopt())
	}
	if err := d.net.driver.removeOurs(d.name); err != nil {
		return err
	}
	// A macvlan of a process before this one has the MAC: Plug takes it up, or it goes
	// with the device.
	if there, l, err := findMarked(d.macvlanMark()); l != nil || err != nil {
		if l != nil {
			d.plugged = &there
		}
		return err
	}
	attrs := d.net.driver.newAttrs(d.name)
	attrs.MTU, attrs.ParentIndex, attrs.HardwareAddr = d.info.MTU, d.net.uplink.index, d.info.MAC
	l := &netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: attrs, Mode: d.net.macvlanMode()}}
	if err := netlink.LinkAdd(l); err != nil {
		return opErr("make macvtap", d.name, err)
	}
	d.made = true
	err := errors.Join(
		mark(l, d.net.driver.names.alias(d.net.info.Name)),
		sysctl("ipv6", d.name, "disable_ipv6", "1"),
		opErr("start", d.name, netlink.LinkSetUp(l)),
	)
	if err != nil {
		return err
	}
	if d.file, err = openMacvtapNode(d.name, l.Index, flags); err != nil {
		return err
	}
	return d.adopt()
}

// openMacvtapNode opens the character device of a macvtap. /dev may have none, or
// one of another namespace with the same index: the numbers decide.
func openMacvtapNode(name string, index int, flags uint16) (*os.File, error) {
	text, err := os.ReadFile(fmt.Sprintf("/sys/class/net/%s/tap%d/dev", name, index))
	if err != nil {
		return nil, opErr("find the device of", name, err)
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(strings.TrimSpace(string(text)), "%d:%d", &major, &minor); err != nil {
		return nil, opErr("find the device of", name, fmt.Errorf("%q: %w", text, err))
	}
	dev := unix.Mkdev(major, minor)
	path := fmt.Sprintf("/dev/tap%d", index)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Rdev != dev || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		dir, err := os.MkdirTemp("", "vmnet-tap-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		path = filepath.Join(dir, name)
		if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(dev)); err != nil {
			return nil, fmt.Errorf("make the device node of %s: %w (CAP_MKNOD): %w", name, vmnet.ErrPermission, err)
		}
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, opErr("open", path, err)
	}
	req := ifReq{flags: flags}
	// A frame counts as the sender's until its receiver has read it: without a
	// bound that is the receiver's matter, as with a tap (tun.c has INT_MAX).
	most := int32(math.MaxInt32)
	err = errors.Join(ioctl(fd, unix.TUNSETIFF, unsafe.Pointer(&req)), ioctl(fd, unix.TUNSETSNDBUF, unsafe.Pointer(&most)))
	if err != nil {
		_ = unix.Close(fd)
		return nil, opErr("set up", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}
