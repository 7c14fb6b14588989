package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	bin      string
	only     string
	who      string
	rounds   int
	slice    time.Duration
	jsonPath string
	svgDir   string
	profiles string
}

func main() {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "child-") {
		os.Exit(child(os.Args[1], os.Args[2:]))
	}
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "directory of vmnet, vmnet-shim and the peers")
	flag.StringVar(&o.only, "only", "", "parts to run, with commas: nat, qemu, relay, verbs, stages, tap; empty: all")
	flag.StringVar(&o.who, "contenders", "", "contenders of nat and qemu whose name has this; empty: all")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds, in each of which every contender has one turn at everything")
	flag.DurationVar(&o.slice, "time", 700*time.Millisecond, "length of one measurement of throughput")
	flag.StringVar(&o.jsonPath, "json", "", "file for the figures as JSON")
	flag.StringVar(&o.svgDir, "svg", "", "directory for the plots")
	flag.StringVar(&o.profiles, "cpuprofile", "", "directory for CPU profiles (pprof) of our processes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A part is one subject of the benchmark.
type part struct {
	name string
	run  func(context.Context, options, *report) error
}

func run(ctx context.Context, o options) error {
	parts := []part{{"nat", runNAT}, {"qemu", runQEMU}, {"stages", runStages}, {"relay", runRelay}, {"tap", runTap}, {"verbs", runVerbs}}
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	want := names
	if o.only != "" {
		want = strings.Split(o.only, ",")
	}
	for _, w := range want {
		if !slices.Contains(names, w) {
			return fmt.Errorf("-only %q: want some of %s", w, strings.Join(names, ", "))
		}
	}
	r := newReport()
	for _, p := range parts {
		if !slices.Contains(want, p.name) {
			continue
		}
		if err := p.run(ctx, o, r); err != nil {
			r.leftOut(p.name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	r.Took = time.Since(r.Start).Round(time.Second).String()
	r.print(os.Stdout)
	return r.save(o)
}

// newReport returns a report that says on what it was made.
func newReport() *report {
	return &report{Start: time.Now(), OS: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(), Load: load()}
}

// load returns the load average of the last minute, or "" where none is told.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	return strings.Fields(string(b))[0]
}

// save writes what the flags ask for.
func (r *report) save(o options) error {
	if o.jsonPath != "" {
		b, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.jsonPath, append(b, '\n'), 0o644); err != nil { //nolint:gosec // for everybody to read
			return err
		}
	}
	if o.svgDir == "" {
		return nil
	}
	return r.plot(o.svgDir)
}
