package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError says what is wrong with a flag as every other message here does: its
// name, its value, and what would be right.
func flagError(cmd *cobra.Command, err error) error {
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		wrong   *pflag.InvalidValueError
		syntax  *pflag.InvalidSyntaxError
	)
	switch {
	case errors.As(err, &unknown):
		name := "--" + unknown.GetSpecifiedName()
		if unknown.GetSpecifiedShortnames() != "" {
			name = name[1:]
		}
		return fmt.Errorf("%s: unknown flag; %s --help lists those that there are", name, cmd.CommandPath())
	case errors.As(err, &missing):
		return fmt.Errorf("--%s: want a value: %s", missing.GetFlag().Name, usageOf(missing.GetFlag()))
	case errors.As(err, &wrong):
		return fmt.Errorf("--%s %q: %s", wrong.GetFlag().Name, wrong.GetValue(), wanted(wrong))
	case errors.As(err, &syntax):
		return fmt.Errorf("%s: want --NAME or --NAME=VALUE", syntax.GetSpecifiedFlag())
	}
	return err
}

// wanted is what the flag takes. Flags of this program's own say so themselves.
func wanted(err *pflag.InvalidValueError) string {
	switch f := err.GetFlag(); f.Value.Type() {
	case "int", "int32", "int64":
		return "want a whole number"
	case "uint", "uint32", "uint64":
		return "want a whole number, 0 or more"
	case "duration":
		return "want a duration, as 500ms or 1m30s"
	case "bool":
		return "want true or false"
	}
	// A type's own words may name it again.
	return strings.TrimPrefix(errors.Unwrap(err).Error(), fmt.Sprintf("%s %q: ", err.GetFlag().Name, err.GetValue()))
}

// usageOf is the help text of a flag.
func usageOf(f *pflag.Flag) string {
	_, usage := pflag.UnquoteUsage(f)
	return usage
}

// unknownCommand says so on one line, with a command that looks like it.
func unknownCommand(root *cobra.Command, args []string, err error) error {
	if !strings.HasPrefix(err.Error(), "unknown command ") || len(args) == 0 {
		return err
	}
	if like := root.SuggestionsFor(args[0]); len(like) > 0 {
		return fmt.Errorf("command %q: unknown; did you mean %s?", args[0], strings.Join(like, " or "))
	}
	return fmt.Errorf("command %q: unknown; %s --help lists those that there are", args[0], root.Name())
}
