package tap

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

func (d *Driver) sweep(ctx context.Context) error {
	d.state.making.Lock()
	defer d.state.making.Unlock()
	links, err := dump(netlink.LinkList)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // then it is most of them
		return opErr("list", "links", err)
	}
	var errs []error
	for _, l := range links {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if a := l.Attrs(); d.names.ours(a) && !d.state.uses(a.Name) {
			d.cfg.Log("link %s of a shim before this one removed (%s)", a.Name, a.Alias)
			errs = append(errs, deleteLink(l))
		}
	}
	return errors.Join(append(errs, d.sweepRemotes(ctx), d.sweepTables())...)
}

// sweepRemotes removes macvlans from the namespaces of guests: other links there end
// with those that are here.
func (d *Driver) sweepRemotes(ctx context.Context) error {
	list, err := remotes()
	if errors.Is(err, fs.ErrPermission) {
		return nil // who may not list has made none
	}
	errs := []error{err}
	for _, r := range list {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		links, err := r.all(d.unused)
		if err != nil {
			continue // it has ended, or is another user's
		}
		for _, l := range links {
			d.cfg.Log("link %s of a shim before this one removed from a namespace (%s)", l.Attrs().Name, l.Attrs().Alias)
			errs = append(errs, r.remove(l))
		}
	}
	return errors.Join(errs...)
}

// unused reports whether a link is the macvlan of a device that is no more: its mark
// ends with the device's name.
func (d *Driver) unused(a *netlink.LinkAttrs) bool {
	parts := strings.Split(a.Alias, ":")
	return len(parts) == 4 && d.names.ours(a) && strings.HasPrefix(parts[3], portPrefix) && !d.state.uses(parts[3])
}

func (d *Driver) sweepTables() error {
	c, err := nftables.New()
	if err != nil {
		return opErr("nftables: open", "", err)
	}
	tables, err := c.ListTables()
	if errors.Is(err, fs.ErrPermission) {
		return nil // who may not list has made none
	}
	if err != nil {
		return opErr("nftables: list", "tables", err)
	}
	var errs []error
	for _, t := range tables {
		if link, ours := d.names.tableOf(t.Name); ours && !d.state.uses(link) {
			d.cfg.Log("table %s of a shim before this one removed", t.Name)
			errs = append(errs, deleteFamily(t.Family, t.Name))
		}
	}
	return errors.Join(errs...)
}
