package tap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Plug implements vmnet.Plugger: a veth of which one end is the port of the
// bridge, in the tap's place, or a macvlan on an uplink that keeps its addresses.
func (d *device) Plug(ctx context.Context, ns *os.File, ifname string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.direct {
		return fmt.Errorf("plug %s: it was started for a guest that has the tap: %w", d.name, errors.ErrUnsupported)
	}
	if d.isGone() {
		return fmt.Errorf("plug %s: %w", d.name, os.ErrClosed)
	}
	return control(ns, func(fd int) error { return d.plug(fd, ifname) })
}

// plug makes the link. The caller holds mu.
func (d *device) plug(ns int, ifname string) error {
	inside, err := netlink.NewHandleAt(netns.NsHandle(ns))
	if err != nil {
		return opErr("enter the namespace of", ifname, err)
	}
	defer inside.Close()
	if d.net.bridge == 0 {
		return d.plugMacvlan(inside, ns, ifname)
	}
	there, err := inside.LinkByName(ifname)
	if err == nil {
		outside, oerr := lookup(d.name)
		if oerr != nil || outside == nil || outside.Type() != "veth" || there.Attrs().ParentIndex != outside.Attrs().Index {
			return fmt.Errorf("plug %s: the namespace has a link of that name: %w", ifname, errors.Join(oerr, fs.ErrExist))
		}
		return d.net.makePort(d.name, d.info.MAC) // it is ours, and back
	}
	d.dropTap()
	if err := d.net.driver.removeOurs(d.name); err != nil { // its end in another namespace, or under another name
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = d.name, d.info.MTU
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: ifname, PeerHardwareAddr: d.info.MAC, PeerNamespace: netlink.NsFd(ns), PeerMTU: uint32(d.info.MTU)}
	if err := netlink.LinkAdd(veth); err != nil {
		return opErr("plug", ifname, err)
	}
	return d.net.makePort(d.name, d.info.MAC)
}

// dropTap ends the tap, whose place something else takes. The caller holds mu.
func (d *device) dropTap() {
	_ = d.events.set(nil) // fails when closed: then there are no calls either
	d.io.Lock()
	file := d.file
	d.file, d.fd = nil, -1
	d.io.Unlock()
	closeFile(file)
	if file != nil && d.onFiles != nil {
		go d.onFiles() // without our locks
	}
}

// plugMacvlan makes a macvlan of the uplink in the namespace.
func (d *device) plugMacvlan(inside *netlink.Handle, ns int, ifname string) error {
	mark := d.net.driver.names.alias(d.net.info.Name, d.name)
	if there, err := inside.LinkByName(ifname); err == nil {
		if there.Attrs().Alias != mark {
			return fmt.Errorf("plug %s: the namespace has a link of that name: %w", ifname, fs.ErrExist)
		}
		return d.keepNamespace(ns, ifname)
	}
	d.dropTap()
	if err := d.net.driver.removeOurs(d.name); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.ParentIndex, attrs.HardwareAddr = ifname, d.info.MTU, d.net.uplink.index, d.info.MAC
	attrs.Namespace = netlink.NsFd(ns)
	if err := netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: d.net.macvlanMode()}); err != nil {
		return opErr("plug", ifname, err)
	}
	l, err := inside.LinkByName(ifname)
	if err == nil {
		err = inside.LinkSetAlias(l, mark)
	}
	return errors.Join(opErr("mark", ifname, err), d.keepNamespace(ns, ifname))
}

// keepNamespace notes where the guest's end is, to take it away with the device.
func (d *device) keepNamespace(ns int, ifname string) error {
	dup, err := unix.FcntlInt(uintptr(ns), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return opErr("keep the namespace of", ifname, os.NewSyscallError("fcntl", err))
	}
	closeFile(d.plugged)
	d.plugged, d.inside = os.NewFile(uintptr(dup), "netns of "+ifname), ifname
	return nil
}

// unplug deletes a macvlan in its namespace; a veth goes with its other end. The
// caller holds mu.
func (d *device) unplug() error {
	if d.plugged == nil {
		return nil
	}
	defer func() { closeFile(d.plugged); d.plugged = nil }()
	return control(d.plugged, func(fd int) error {
		inside, err := netlink.NewHandleAt(netns.NsHandle(fd))
		if err != nil {
			return opErr("enter the namespace of", d.inside, err)
		}
		defer inside.Close()
		l, err := inside.LinkByName(d.inside)
		if err != nil || l.Attrs().Alias != d.net.driver.names.alias(d.net.info.Name, d.name) {
			return nil //nolint:nilerr // it is gone, or another's by now
		}
		return opErr("unplug", d.inside, inside.LinkDel(l))
	})
}
