// Command cni-conformance judges a CNI plugin binary by the CNI specification:
//
//	cni-conformance --plugin /opt/cni/bin/bridge --config bridge.conf --domain netns
//
// It exits with 0 when nothing failed that counts in the grade, with 1 when
// something did, and with 2 when the plugin could not be judged. The README of
// the package beside it explains the options.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vmnet-cni/vmnet/conformance/cni"
	"github.com/vmnet-cni/vmnet/conformance/cni/internal/double"
)

// Exit codes.
const (
	exitFailed  = 1
	exitUnknown = 2
)

func main() {
	// The doubles of a run are this program under other names.
	if code, isDouble := double.Main(); isDouble {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are what the command line says beside the target.
type options struct {
	config, grade, output, ids string
	list                       bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	var t cni.Target
	fs := flags(&o, &t, stderr)
	if err := fs.Parse(args); err != nil {
		return exitUnknown
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(stderr, "cni-conformance: argument %q: want none but options\n", fs.Arg(0))
		return exitUnknown
	}
	if o.list {
		for _, c := range cni.Checks() {
			fmt.Fprintf(stdout, "%s %s %-6s %s (%s)\n", c.ID, c.Level, c.Grade, c.Sentence, c.Source)
		}
		return 0
	}
	code, err := judge(ctx, o, t, stdout)
	if err != nil {
		fmt.Fprintf(stderr, "cni-conformance: %v\n", err)
		return exitUnknown
	}
	return code
}

func judge(ctx context.Context, o options, t cni.Target, stdout io.Writer) (int, error) {
	g := cni.Grade(o.grade)
	if g != cni.Spec && g != cni.Compat {
		return 0, fmt.Errorf("grade %q: want spec or compat", o.grade)
	}
	if o.output != "text" && o.output != "json" && o.output != "junit" && o.output != "golden" {
		return 0, fmt.Errorf("output %q: want text, json, junit or golden", o.output)
	}
	if o.config == "" {
		return 0, fmt.Errorf("config: want the path of a network configuration")
	}
	var err error
	if t.Config, err = os.ReadFile(o.config); err != nil {
		return 0, err
	}
	if t.Double, err = os.Executable(); err != nil {
		return 0, err
	}
	var ids []string
	if o.ids != "" {
		ids = strings.Split(o.ids, ",")
	}
	r, err := cni.Judge(ctx, t, ids...)
	if err != nil {
		return 0, err
	}
	switch o.output {
	case "json":
		err = r.JSON(stdout)
	case "junit":
		err = r.JUnit(stdout, g)
	case "golden":
		err = r.Golden(stdout)
	default:
		err = r.Text(stdout, g)
	}
	if err != nil {
		return 0, err
	}
	if len(r.Failed(g)) > 0 {
		return exitFailed, nil
	}
	return 0, nil
}

// flags declares the options. Their texts are the manual; the README has more.
func flags(o *options, t *cni.Target, stderr io.Writer) *flag.FlagSet {
	fs := flag.NewFlagSet("cni-conformance", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&t.Plugin, "plugin", "", "`path` of the plugin's binary")
	fs.StringVar(&o.config, "config", "", "`file` with a configuration that is good for the plugin; @N@ in it becomes the number of the network")
	fs.StringVar(&o.grade, "grade", "spec", "spec (the letter) or compat (what a plugin built on cni/pkg/skel can reach)")
	fs.StringVar(&o.output, "output", "text", "text, json, junit or golden")
	fs.StringVar(&o.ids, "run", "", "`IDs` of checks, with commas between; E* is a group")
	fs.BoolVar(&o.list, "list", false, "list the checks and exit")
	fs.Func("domain", "isolation domain: opaque (default), netns (Linux, root) or none", func(s string) error { t.Domain = cni.DomainKind(s); return nil })
	fs.Func("kind", "interface (default), adjust (changes an interface that is there) or ipam", func(s string) error { t.Kind = cni.Kind(s); return nil })
	fs.StringVar(&t.IfName, "ifname", "", "CNI_IFNAME (eth0)")
	fs.Func("path", "more `directories` for CNI_PATH", func(s string) error { t.Path = append(t.Path, filepath.SplitList(s)...); return nil })
	list := func(into *[]string) func(string) error {
		return func(s string) error { *into = append(*into, s); return nil }
	}
	fs.Func("env", "`KEY=value` for the plugin's environment; may be repeated", list(&t.Env))
	fs.Func("dir", "`directory` with the plugin's state, to count files in; may be repeated", list(&t.Dirs))
	fs.Func("ignore", "`pattern` of files in the directories that are no leak; may be repeated", list(&t.Ignore))
	fs.Func("bad", "JSON merge `patch` that makes the configuration wrong; may be repeated", list(&t.Bad))
	fs.StringVar(&t.Small, "small", "", "JSON merge `patch` that leaves the network at most 16 addresses")
	fs.StringVar(&t.Inventory, "inventory", "", "shell `command` that prints a line for each thing the plugin holds")
	fs.StringVar(&t.Drift, "drift", "", "shell `command` that makes the state drift as CNI_DRIFT says; exit 77: cannot")
	fs.DurationVar(&t.Timeout, "timeout", 0, "limit of one execution (30s)")
	fs.IntVar(&t.Parallel, "parallel", 0, "ADDs at once in checks of concurrency (8)")
	fs.IntVar(&t.Kills, "kills", 0, "ADDs killed at random instants (20); -1: none")
	return fs
}
