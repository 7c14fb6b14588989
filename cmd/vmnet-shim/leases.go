package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

func newLeases() *cobra.Command {
	var out output
	var network string
	cmd := &cobra.Command{
		Use:   "leases",
		Short: "List leases: who has which address",
		Long: `List the leases of your attachments, or all for root. Where several machines
share their leases, root sees those of every machine.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect()
			if err != nil {
				return err
			}
			defer c.Close()
			leases, err := ask(cmd, &out, func() ([]shim.Lease, error) { return c.Leases(cmd.Context(), network) })
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), leases, func(t *table) {
				t.row("NETWORK", "CONTAINER", "IFNAME", "ADDRESS", "MAC", "MACHINE", "SINCE", "ATTACHED")
				for _, l := range leases {
					t.row(l.Network, l.ContainerID, l.IfName, leaseAddrs(l), l.MAC, l.Machine, l.Created.Format(time.RFC3339), yes(l.Attached))
				}
			})
		},
	}
	out.register(cmd)
	cmd.Flags().StringVar(&network, "network", "", "only this network")
	cmd.AddCommand(newReleaseLease())
	return cmd
}

func newReleaseLease() *cobra.Command {
	var machine string
	cmd := &cobra.Command{
		Use:   "release NETWORK CONTAINER [IFNAME]",
		Short: "Release leases that have no attachment",
		Long: `Release a lease that has no attachment here, or without IFNAME all of the
container in the network. Their addresses are free again, and remembered for the
same name.

The lease of another machine is released with --machine, by root: look first that
the machine does not use it any more. Without that, the leases of a machine that
died are released by themselves when its grace is over.`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect()
			if err != nil {
				return err
			}
			defer c.Close()
			defer waiting(cmd, nil, "releasing").Stop()
			if len(args) == 3 {
				return c.ReleaseLease(cmd.Context(), args[0], args[1], args[2], machine)
			}
			return releaseContainer(cmd.Context(), c, args[0], args[1], machine)
		},
	}
	cmd.Flags().StringVar(&machine, "machine", "", "the lease's machine (default this one)")
	return cmd
}

// releaseContainer releases the leases of a container that have no attachment.
// machine is the one that has them, "" for this one.
func releaseContainer(ctx context.Context, c *shim.Client, network, containerID, machine string) error {
	leases, err := c.Leases(ctx, network)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range leases {
		if l.ContainerID == containerID && (machine == "" || l.Machine == machine) {
			errs = append(errs, c.ReleaseLease(ctx, network, containerID, l.IfName, machine))
		}
	}
	return errors.Join(errs...)
}

func leaseAddrs(l shim.Lease) string {
	var s []string
	for _, a := range l.Addrs {
		s = append(s, a.String())
	}
	return strings.Join(s, ",")
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}
