package main

import (
	"context"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/cmd/vmnet-shim/doctor"
)

func newDoctor() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong on this machine, and say what mends it",
		Long: `Look at this machine, as this user, for what is known to go wrong: programs,
signature, privileges, directories, the shim, CNI configurations, subnets, offload,
settings of the system, leftovers. For each finding: what it is, why it matters, and
the command that mends it. Nothing is changed.

Exit status: 0 if nothing is wrong (there may be notes), 1 if something is.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if ctx == nil {
				ctx = context.Background()
			}
			macOS := 0
			if runtime.GOOS == "darwin" {
				var err error
				if macOS, err = macOSVersion(ctx); err != nil {
					return err
				}
			}
			m, err := doctor.Here(version, macOS)
			if err != nil {
				return err
			}
			line := waiting(cmd, &out, "looking at this machine")
			m.Looking = func(about string) { line.Say("looking whether " + about) }
			r := doctor.Examine(ctx, m)
			line.Stop()
			if out.format == "json" {
				err = out.print(cmd.OutOrStdout(), r, nil)
			} else {
				f, ok := cmd.OutOrStdout().(*os.File)
				err = r.Print(cmd.OutOrStdout(), doctor.Plain(ok && isTerminal(f), os.Getenv))
			}
			if err == nil && !r.Healthy {
				err = exitStatus(1)
			}
			return err
		},
	}
	out.register(cmd)
	return cmd
}
