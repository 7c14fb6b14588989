package tap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vishvananda/netlink"
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
	if ns == nil {
		return d.replug(ifname)
	}
	return control(ns, func(fd int) error { return d.plug(fd, ifname) })
}

// replug takes up what a process before this one plugged. The caller holds mu.
func (d *device) replug(ifname string) error {
	if d.net.bridge == 0 {
		there, l, err := findMarked(d.macvlanMark())
		if err != nil || l == nil {
			return errors.Join(fmt.Errorf("plug %s: it is in no namespace: %w", ifname, fs.ErrNotExist), err)
		}
		d.dropTap()
		d.plugged = &there
		return nil
	}
	l, err := lookup(d.name)
	if err != nil || l == nil || l.Type() != "veth" { // it ends with the guest's end
		return errors.Join(fmt.Errorf("plug %s: it is in no namespace: %w", ifname, fs.ErrNotExist), err)
	}
	return d.net.makePort(d.name, d.info.MAC)
}

// plug makes the link. The caller holds mu.
func (d *device) plug(ns int, ifname string) error {
	inside, err := remoteOf(ns)
	if err != nil {
		return err
	}
	there, err := inside.find(named(ifname))
	if err != nil {
		return err
	}
	if d.net.bridge == 0 {
		return d.plugMacvlan(inside, there, ns, ifname)
	}
	if there != nil {
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
	attrs := d.net.driver.newAttrs(d.name)
	attrs.MTU = d.info.MTU
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

// plugMacvlan makes a macvlan of the uplink in the namespace, where there is the link
// of that name, or nil.
func (d *device) plugMacvlan(inside remote, there netlink.Link, ns int, ifname string) error {
	if there != nil && there.Attrs().Alias != d.macvlanMark() {
		return fmt.Errorf("plug %s: the namespace has a link of that name: %w", ifname, fs.ErrExist)
	}
	d.plugged = &inside
	if there != nil {
		return nil
	}
	d.dropTap()
	if err := d.net.driver.removeOurs(d.name); err != nil {
		return err
	}
	attrs := d.net.driver.newAttrs(d.name)
	attrs.MTU, attrs.ParentIndex, attrs.HardwareAddr = d.info.MTU, d.net.uplink.index, d.info.MAC
	l := &netlink.Macvlan{LinkAttrs: attrs, Mode: d.net.macvlanMode()}
	if err := netlink.LinkAdd(l); err != nil {
		return opErr("plug", ifname, err)
	}
	if err := mark(l, d.macvlanMark()); err != nil {
		return errors.Join(err, netlink.LinkDel(l))
	}
	return moveLink(l, ns, ifname) // after an error the device is closed, and the link goes
}

// macvlanMark is the mark of the guest's end in its namespace.
func (d *device) macvlanMark() string { return d.net.driver.names.alias(d.net.info.Name, d.name) }

// unplug deletes a macvlan in its namespace; a veth goes with its other end. The
// caller holds mu.
func (d *device) unplug() error {
	if d.plugged == nil {
		return nil
	}
	inside := *d.plugged
	d.plugged = nil
	l, err := inside.find(marked(d.macvlanMark()))
	if err != nil || l == nil {
		return nil //nolint:nilerr // it is gone, perhaps with its namespace
	}
	return inside.remove(l)
}
