package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// update writes docs/commands.md anew.
var update = flag.Bool("update", false, "write docs/commands.md")

// TestCommandsPage compares docs/commands.md with the commands and flags that there
// are: go test ./cmd/vmnet-shim -run TestCommandsPage -update
func TestCommandsPage(t *testing.T) {
	const path = "../../docs/commands.md"
	page := commandsPage(newRoot())
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != page {
		t.Errorf("docs/commands.md is not what the commands say: go test ./cmd/vmnet-shim -run TestCommandsPage -update")
	}
}

// commandsPage returns the page about all commands.
func commandsPage(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(`# Commands

All commands of ` + "`vmnet-shim`" + ` with their flags, as the program has them; ` + "`--help`" + ` of each,
and its man page, say more. The plugin ` + "`vmnet`" + ` has ` + "`vmnet validate FILE…`" + `, and what
callers of CNI send. Exit codes are in [errors](errors.md#exit-codes-of-commands).

At a terminal a command that takes longer than a second says on stderr what it waits
for; never with ` + "`--output json`" + `, and without colours where ` + "`NO_COLOR`" + ` is set.
`)
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "\n## %s\n", strings.TrimSuffix(g.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == g.ID && !c.Hidden {
				commandText(&b, c)
			}
		}
	}
	return b.String()
}

func commandText(b *strings.Builder, c *cobra.Command) {
	use := strings.TrimSuffix(strings.TrimSuffix(c.UseLine(), " [flags]"), " ")
	fmt.Fprintf(b, "\n### %s\n\n%s: `%s`\n", strings.TrimPrefix(c.CommandPath(), "vmnet-shim "), c.Short, use)
	head := false
	c.LocalFlags().SortFlags = true
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if !head {
			b.WriteString("\n| flag | |\n|---|---|\n")
			head = true
		}
		b.WriteString(flagText(f))
	})
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			commandText(b, sub)
		}
	}
}

func flagText(f *pflag.Flag) string {
	name, usage := pflag.UnquoteUsage(f)
	text := "--" + f.Name
	if f.Shorthand != "" {
		text = "-" + f.Shorthand + ", " + text
	}
	if name != "" {
		text += " " + name
	}
	switch f.DefValue {
	case "", "0", "0s", "-1", "false", "[]":
	default:
		usage += " (default " + f.DefValue + ")"
	}
	return fmt.Sprintf("| `%s` | %s |\n", text, strings.ReplaceAll(usage, "|", "\\|"))
}
