package tap

import (
	"context"
	"errors"
	"io/fs"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

func (d *Driver) sweep(ctx context.Context) error {
	links, err := netlink.LinkList()
	if err != nil {
		return opErr("list", "links", err)
	}
	var errs []error
	for _, l := range links {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if a := l.Attrs(); d.names.ours(a.Alias) && !d.state.uses(a.Name) {
			d.cfg.Log("link %s of a shim before this one removed (%s)", a.Name, a.Alias)
			errs = append(errs, deleteLink(l))
		}
	}
	return errors.Join(append(errs, d.sweepTables())...)
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
