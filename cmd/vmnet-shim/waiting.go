package main

import (
	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/internal/progress"
)

// waiting shows people at a terminal what the command waits for, until the line is
// stopped. Nothing is shown with --output json; o is nil where a command has no such
// flag.
func waiting(cmd *cobra.Command, o *output, what string) *progress.Line {
	return progress.Start(cmd.ErrOrStderr(), what, progress.Config{Quiet: o != nil && o.format == "json"})
}

// ask waits for an answer of the shim.
func ask[T any](cmd *cobra.Command, o *output, question func() (T, error)) (T, error) {
	line := waiting(cmd, o, "waiting for the shim")
	defer line.Stop()
	return question()
}
