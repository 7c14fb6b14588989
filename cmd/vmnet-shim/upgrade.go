package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// An upgraded is what "upgrade --output json" prints.
type upgraded struct {
	From shimID `json:"from"`
	To   shimID `json:"to"`
}

type shimID struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
}

func newUpgrade() *cobra.Command {
	var out output
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Have the installed program take over from the running shim",
		Long: `Have the program that is installed now take over from the running shim, without
disconnecting a guest. It sends the shim SIGHUP and waits until the next one
answers. The shim must have been started by the plugin, by "vmnet-shim keep" or by
systemd.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			up, err := ask(cmd, &out, func() (upgraded, error) { return upgrade(ctx) })
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), up, func(t *table) {
				t.text(fmt.Sprintf("shim %d (%s) has taken over from %d (%s)", up.To.PID, up.To.Version, up.From.PID, up.From.Version))
			})
		},
	}
	cmd.Flags().DurationVar(&wait, "timeout", 30*time.Second, "longest wait for the next shim")
	out.register(cmd)
	return cmd
}

func upgrade(ctx context.Context) (up upgraded, err error) {
	c, err := shim.Ensure(ctx, shim.EnsureConfig{})
	if err != nil {
		return up, err
	}
	defer c.Close()
	before, err := c.Status(ctx)
	if err != nil {
		return up, err
	}
	up.From = shimID{before.PID, before.Version}
	if !before.Kept {
		return up, fmt.Errorf("shim %d has no keeper: its guests would be cut off; start it with \"vmnet-shim keep\"", before.PID)
	}
	if err := syscall.Kill(before.PID, syscall.SIGHUP); err != nil {
		return up, fmt.Errorf("signal shim %d: %w", before.PID, err)
	}
	for {
		now, err := c.Status(ctx)
		if err == nil && now.PID != before.PID {
			up.To = shimID{now.PID, now.Version}
			return up, nil
		}
		select {
		case <-ctx.Done():
			return up, errors.Join(fmt.Errorf("shim %d: no other has taken over: %w", before.PID, ctx.Err()), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
