package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"slices"
	"strings"
)

func parseMAC(s string) (net.HardwareAddr, error) { return net.ParseMAC(s) }

// kept are the files that outlive the last attachment by design, as patterns of
// path.Match: what makes the next ADD get the same subnet and address again.
var kept = []string{"run/shim.lock", "state/lock", "state/leases.db", "state/networks/*.json", "state/shim.log"}

// prove shows that nothing is left.
func (d *demo) prove(ctx context.Context) error {
	d.head("nothing is left")
	pid := 0
	for _, s := range []struct {
		name string
		fn   func() (string, error)
	}{
		{"attachments", func() (string, error) { return d.noAttachments(ctx) }},
		{"leases", func() (string, error) { return d.noLeases(ctx) }},
		{"shim", func() (detail string, err error) {
			pid, err = d.m.Stop(ctx)
			return fmt.Sprintf("process %d was asked to leave, and has (alone it leaves after a minute)", pid), err
		}},
		{"processes", func() (string, error) {
			if left := d.m.Processes(); len(left) > 0 {
				return "", fmt.Errorf("still there: %v", left)
			}
			return "none", nil
		}},
		{"files", d.noFiles},
		{"directory", func() (string, error) {
			if err := os.RemoveAll(d.dir); err != nil {
				return "", err
			}
			_, err := os.Stat(d.dir)
			if err == nil {
				return "", errors.New("it is still there")
			}
			return "removed", nil
		}},
	} {
		if err := d.step(s.name, s.fn); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (d *demo) noAttachments(ctx context.Context) (string, error) {
	left, err := d.m.Client.Attachments(ctx)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%d are left: %+v", len(left), left)
	}
	return "none", err
}

func (d *demo) noLeases(ctx context.Context) (string, error) {
	networks, err := d.m.Client.Networks(ctx)
	for _, n := range networks {
		if n.Leases > 0 {
			err = errors.Join(err, fmt.Errorf("%d of network %q", n.Leases, n.Name))
		}
	}
	return "none", err
}

// noFiles lists the machine's files: no socket, and only what is kept.
func (d *demo) noFiles() (string, error) {
	files, err := d.m.Files()
	if err != nil {
		return "", err
	}
	for _, f := range files {
		keep := func(pattern string) bool { ok, _ := path.Match(pattern, f); return ok }
		if !slices.ContainsFunc(kept, keep) {
			err = errors.Join(err, fmt.Errorf("%s is left", f))
		}
	}
	return "no socket, no attachment; kept for the next time: " + strings.Join(files, " "), err
}
