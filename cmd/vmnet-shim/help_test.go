package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestHelp keeps the help texts alike: how they begin and end, how wide they are,
// and that a flag of one name says the same everywhere.
func TestHelp(t *testing.T) {
	sentence := regexp.MustCompile(`^[A-Z].*[^.]$`)
	short := map[string]string{"output": "o", "write": "w", "help": "h"}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Hidden || c.GroupID == "dropins" { // their words are those of the real programs
			return
		}
		path := c.CommandPath()
		if !sentence.MatchString(c.Short) {
			t.Errorf("%s: %q: want a capital and no full stop", path, c.Short)
		}
		for line := range strings.Lines(c.Long) {
			if len([]rune(line)) > 90 {
				t.Errorf("%s: a line of %d characters: %q", path, len([]rune(line)), line)
			}
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if strings.HasSuffix(f.Usage, ".") || f.Usage == "" {
				t.Errorf("%s --%s: %q: want a phrase without a full stop", path, f.Name, f.Usage)
			}
			if f.Shorthand != "" && f.Shorthand != short[f.Name] {
				t.Errorf("%s --%s: -%s is for %v", path, f.Name, f.Shorthand, short)
			}
			if f.Name == "output" && f.Usage != "how to print: table or json" {
				t.Errorf("%s --output: %q", path, f.Usage)
			}
		})
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRoot())
}
