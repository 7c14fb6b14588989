package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestWords reads every command's help: the same words in the same places, and a
// flag of one name is the same thing everywhere.
func TestWords(t *testing.T) {
	type told struct{ where, usage, typ, short string }
	flags := map[string]told{}
	shared := map[string]bool{"network": true, "ifname": true, "group": true, "count": true, "version": true, "hostname": true, "machine": true} // as what depends on the command
	var read func(*cobra.Command)
	read = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" {
			return
		}
		path := c.CommandPath()
		if s := c.Short; s == "" || len(s) > 90 || strings.HasSuffix(s, ".") || s[0] < 'A' || s[0] > 'Z' {
			t.Errorf("%s: short help %q: want a capital and no full stop", path, s)
		}
		for line := range strings.Lines(c.Long) {
			if len([]rune(line)) > 91 {
				t.Errorf("%s: a line of %d characters: %s", path, len([]rune(line)), line)
			}
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden || f.Name == "help" {
				return
			}
			for _, fault := range faults(f) {
				t.Errorf("%s --%s: %s", path, f.Name, fault)
			}
			is := told{path, f.Usage, f.Value.Type(), f.Shorthand}
			if was, ok := flags[f.Name]; ok && c.GroupID != "dropins" && !shared[f.Name] &&
				(was.usage != is.usage || was.typ != is.typ || was.short != is.short) {
				t.Errorf("--%s: %q (%s, -%s) of %s, and %q (%s, -%s) of %s", f.Name, is.usage, is.typ, is.short, path, was.usage, was.typ, was.short, was.where)
			}
			if c.GroupID != "dropins" {
				flags[f.Name] = is
			}
		})
		for _, sub := range c.Commands() {
			read(sub)
		}
	}
	read(newRoot())
}

// faults returns what is wrong with the help of a flag: it is a phrase that begins
// with a small letter, or a name, and tells a default that is not its zero value as
// (default …).
func faults(f *pflag.Flag) (list []string) {
	name, u := pflag.UnquoteUsage(f)
	first := strings.FieldsFunc(u, func(r rune) bool { return r == ' ' || r == ',' || r == ';' || r == ':' })
	switch {
	case u == "" || strings.HasSuffix(u, ".") || strings.Contains(u, ". "):
		list = append(list, fmt.Sprintf("help %q: want a phrase without a full stop", u))
	case u[0] >= 'A' && u[0] <= 'Z' && !properNames.MatchString(first[0]):
		list = append(list, fmt.Sprintf("help %q: want a small letter", u))
	case regexp.MustCompile(`[;(:] ?default|; 0:|when (empty|0|not given)`).MatchString(strings.ReplaceAll(u, "(default ", "")):
		list = append(list, fmt.Sprintf("help %q: want (default …)", u))
	case f.Name != strings.ToLower(f.Name) || strings.Contains(f.Name, "_"):
		list = append(list, fmt.Sprintf("name %q: want small letters and hyphens", f.Name))
	}
	if strings.HasPrefix(u, name+":") && name != f.Name {
		list = append(list, fmt.Sprintf("help %q: says its placeholder again", u))
	}
	return list
}

// properNames are words that have a capital wherever they stand.
var properNames = regexp.MustCompile(`^(IP|IPv4|IPv6|MAC|MTU|UUID|QEMU's|CNI|Linux)$`)

// TestArguments has wrong arguments named, with what is wanted.
func TestArguments(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"capture", "vmnet-shim: capture: want NETWORK CONTAINER IFNAME\n"},
		{"capture a b", `vmnet-shim: capture: arguments ["a" "b"]: want NETWORK CONTAINER IFNAME` + "\n"},
		{"ls x", `vmnet-shim: ls: argument "x": want none` + "\n"},
		{"leases release n", `vmnet-shim: leases release: arguments ["n"]: want NETWORK CONTAINER [IFNAME]` + "\n"},
		{"qemu-args", "vmnet-shim: qemu-args: want CONTAINER\n"},
		{"run", "vmnet-shim: run: want a program, as in: vmnet-shim run -- CMD\n"},
		{"conjure", `vmnet-shim: command "conjure": unknown; vmnet-shim --help lists those that there are` + "\n"},
		{"stat", `vmnet-shim: command "stat": unknown; did you mean stats?` + "\n"},
		{"ls --color", "vmnet-shim: --color: unknown flag; vmnet-shim ls --help lists those that there are\n"},
		{"ls -x", "vmnet-shim: -x: unknown flag; vmnet-shim ls --help lists those that there are\n"},
		{"ls -o xml", `vmnet-shim: --output "xml": want table or json` + "\n"},
		{"stats --count many", `vmnet-shim: --count "many": want a whole number` + "\n"},
		{"stats --interval 5", `vmnet-shim: --interval "5": want a duration, as 500ms or 1m30s` + "\n"},
		{"gc --dry-run=maybe", `vmnet-shim: --dry-run "maybe": want true or false` + "\n"},
		{"run --mode nat -- true", `vmnet-shim: --mode "nat": want one of ["shared" "host" "bridged"]` + "\n"},
		{"ls --output", "vmnet-shim: --output: want a value: how to print: table or json\n"},
		{"vmnet-helper --dhcp me", `vmnet-helper: --dhcp "me": want shim or system` + "\n"},
		{"vmnet-helper", "vmnet-helper: want --fd FD or --socket PATH, one of them\n"},
		{"vmnet-helper --start-address 10.0.0.1 -f 3", "vmnet-helper: --start-address: want --end-address and --subnet-mask with it\n"},
		{"socket_vmnet", "socket_vmnet: want SOCKET\n"},
		{"socket_vmnet a b", `socket_vmnet: arguments ["a" "b"]: want SOCKET` + "\n"},
		{"socket_vmnet_client a", `socket_vmnet_client: arguments ["a"]: want SOCKET CMD [ARG…]` + "\n"},
		{"vmnet-run", "vmnet-run: want CMD, as in: vmnet-run -- CMD\n"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(strings.Fields(c.args), nil, &stdout, &stderr); code != 1 || stderr.String() != c.want || stdout.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, want %q", c.args, code, &stderr, c.want)
		}
	}
}
