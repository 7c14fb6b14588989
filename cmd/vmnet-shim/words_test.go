package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestWords reads every command's help: short texts begin with a capital letter, in
// the help of flags with a small one or a name, and none ends with a full stop.
func TestWords(t *testing.T) {
	var read func(*cobra.Command)
	read = func(c *cobra.Command) {
		if s := c.Short; !c.Hidden && (s == "" || len(s) > 90 || strings.HasSuffix(s, ".") || s[0] < 'A' || s[0] > 'Z') {
			t.Errorf("%s: short help %q", c.CommandPath(), s)
		}
		for line := range strings.Lines(c.Long) {
			if len([]rune(line)) > 91 {
				t.Errorf("%s: a line of %d characters: %s", c.CommandPath(), len([]rune(line)), line)
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("%s --%s: help %q", c.CommandPath(), f.Name, f.Usage)
			}
			if f.Name == "output" && f.Usage != "how to print: table or json" {
				t.Errorf("%s --output: help %q", c.CommandPath(), f.Usage)
			}
		})
		for _, sub := range c.Commands() {
			read(sub)
		}
	}
	read(newRoot())
}

// TestArguments has wrong arguments named, with what is wanted.
func TestArguments(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"capture", "vmnet-shim: capture: want NETWORK CONTAINER IFNAME\n"},
		{"capture a b", `vmnet-shim: capture: arguments ["a" "b"]: want NETWORK CONTAINER IFNAME` + "\n"},
		{"ls x", `vmnet-shim: ls: argument "x": want none` + "\n"},
		{"leases release n", `vmnet-shim: leases release: arguments ["n"]: want NETWORK CONTAINER [IFNAME]` + "\n"},
		{"qemu-args", "vmnet-shim: qemu-args: want CONTAINER\n"},
		{"run", "vmnet-shim: run: want a program, as in: vmnet-shim run -- CMD\n"},
		{"conjure", `vmnet-shim: unknown command "conjure" for "vmnet-shim"` + "\n"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(strings.Fields(c.args), nil, &stdout, &stderr); code != 1 || stderr.String() != c.want || stdout.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, want %q", c.args, code, &stderr, c.want)
		}
	}
}
