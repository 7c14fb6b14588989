package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/cmd/vmnet-shim/dropin"
)

// newDropins returns the programs of package dropin.
func newDropins() []*cobra.Command {
	return dropin.Commands(dropin.Config{
		Version:     version,
		Environment: environment,
		Exit:        func(status int) error { return exitStatus(status) },
		RunChild: func(ctx context.Context, args, env []string, files []*os.File, started func()) (int, error) {
			path, err := exec.LookPath(args[0])
			if err != nil {
				return 0, fmt.Errorf("run: %w", err)
			}
			signals := catchSignals()
			defer signals.stop()
			if err := ctx.Err(); err != nil { // what comes from here on is CMD's
				return 0, err
			}
			return runChild(path, args, env, files, started, signals)
		},
	})
}
