package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/cmd/vmnet-shim/doctor"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

func newGC() *cobra.Command {
	var out output
	var dry bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Delete attachments of containers that are gone",
		Long: `Delete attachments whose container ended without DEL: those whose network namespace
is gone and to which no guest is connected. Virtual machines have no namespace to
look at; their runtimes send DEL or GC.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect()
			if err != nil {
				return err
			}
			defer c.Close()
			line := waiting(cmd, &out, "waiting for the shim")
			defer line.Stop()
			atts, err := c.Attachments(cmd.Context())
			if err != nil {
				return err
			}
			gone := []shim.Attachment{}
			var errs []error
			for _, a := range atts {
				if !doctor.Orphan(a, exists) || a.Peer.Connected && a.Peer.Via != shim.ViaNetNS && a.Peer.Via != shim.ViaTap {
					continue
				}
				if !dry {
					line.Say(fmt.Sprintf("deleting %s %s %s", a.Network, a.ContainerID, a.IfName))
					if err := c.Detach(cmd.Context(), a.Network, a.ContainerID, a.IfName); err != nil {
						errs = append(errs, fmt.Errorf("delete %s %s %s: %w", a.Network, a.ContainerID, a.IfName, err))
						continue
					}
				}
				gone = append(gone, a)
			}
			line.Stop()
			errs = append(errs, out.print(cmd.OutOrStdout(), gone, func(t *table) {
				for _, a := range gone {
					t.row(a.Network, a.ContainerID, a.IfName, a.Sandbox)
				}
			}))
			return errors.Join(errs...)
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "tell what would be done, and do nothing")
	out.register(cmd)
	return cmd
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
