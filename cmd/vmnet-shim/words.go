package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// sayArguments has every command say what arguments it wants, in the words of its
// help, where cobra would say how many.
func sayArguments(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		sayArguments(c)
	}
	if cmd.HasSubCommands() && !cmd.Runnable() || cmd.DisableFlagParsing {
		return
	}
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err == nil || !isCobras(err) {
			return err
		}
		name, want, _ := strings.Cut(strings.TrimPrefix(cmd.UseLine(), "vmnet-shim "), cmd.Name()+" ")
		name += cmd.Name()
		want = strings.TrimSuffix(strings.TrimSuffix(want, "[flags]"), " ")
		switch {
		case want == "" && len(args) > 0:
			return fmt.Errorf("%s: argument %q: want none", name, args[0])
		case len(args) == 0:
			return fmt.Errorf("%s: want %s", name, want)
		}
		return fmt.Errorf("%s: arguments %q: want %s", name, args, want)
	}
}

// isCobras reports whether cobra's own checks made the error (args.go there).
func isCobras(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		for _, begin := range []string{"accepts ", "requires ", "unknown command "} {
			if strings.HasPrefix(err.Error(), begin) {
				return true
			}
		}
	}
	return false
}
