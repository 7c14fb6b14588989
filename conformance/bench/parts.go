package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// runStages measures what guard, DHCP servers and counters cost together.
func runStages(ctx context.Context, o options, r *report) error {
	found, err := goBench{
		title: "The relay with guard, DHCPv4 and DHCPv6, beside one without", pkg: "./conformance/bench/stages",
		bench: "Stages", benchtime: "1s", columns: []string{"stages:bare", "allocs/op"},
	}.run(ctx, o, r)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		f := found[name]
		r.atLeast("relay with all stages : without, frames of "+name+" bytes", f["stages:bare"], 0.9)
	}
	return err
}

// runRelay measures driver vmnet's relay beside one in C and a bare hop.
func runRelay(ctx context.Context, o options, r *report) error {
	found, err := goBench{
		title: "Driver vmnet's relay beside one in C and a bare hop", pkg: "./pkg/vmnet/framework",
		bench: "SideBySide", benchtime: strconv.Itoa(o.rounds) + "x", columns: []string{"Go:bare", "Go:C", "C:bare", "Go/s", "C/s", "bare/s"},
		file: "relay", plot: []int{0},
	}.run(ctx, o, r)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		f := found[name]
		switch {
		case strings.Contains(name, "round-trip"):
			r.atLeast("relay : C, "+name, f["Go:C"], 0.95)
		case strings.Contains(name, "stream-from"):
			r.atLeast("relay : bare hop, "+name, f["Go:bare"], 0.6)
		case strings.Contains(name, "stream-to"):
			r.atLeast("relay : bare hop, "+name, f["Go:bare"], 0.5)
		case strings.Contains(name, "65226"):
			r.atLeast("relay : bare hop, "+name, f["Go:bare"], 0.85)
		default:
			r.atLeast("relay : bare hop, "+name, f["Go:bare"], 0.95)
		}
	}
	return err
}

// runTap measures driver tap beside bridges, veths and taps as ip(8) makes them.
func runTap(ctx context.Context, o options, r *report) error {
	found, err := goBench{
		title: "Driver tap between two namespaces, beside a plain bridge", pkg: "./pkg/vmnet/tap",
		bench: "Paths", benchtime: strconv.Itoa(8*o.rounds) + "x",
		columns: []string{"ours:plain", "cpu-ours:plain", "ours-MB/s", "plain-MB/s", "ours-rtt/s", "plain-rtt/s"},
		file:    "tap", plot: []int{0},
	}.run(ctx, o, r)
	if err != nil {
		return err
	}
	for name, what := range map[string]string{"veth": "container : plain veth", "tap": "frames tap : plain tap"} {
		r.atLeast("driver tap, "+what+", bytes", found["stream/"+name]["ours:plain"], 0.9)
		r.atLeast("driver tap, "+what+", round trips", found["rtt/"+name]["ours:plain"], 0.9)
	}
	return nil
}

// runVerbs measures the plugin's verbs beside bridge with host-local.
func runVerbs(ctx context.Context, o options, r *report) error {
	found, err := goBench{
		title: "The plugin's verbs beside bridge with host-local (make bench-verbs has the times)", pkg: "./conformance/bench/verbs",
		bench: "Verbs", benchtime: strconv.Itoa(4*o.rounds) + "x", columns: []string{"ADD:bridge", "DEL:bridge", "first-ADD:bridge", "STATUS:VERSION"},
	}.run(ctx, o, r)
	for _, f := range found {
		r.atMost("ADD : bridge + host-local", f["ADD:bridge"], 0.3)
		r.atMost("DEL : bridge + host-local", f["DEL:bridge"], 0.15)
		r.atMost("ADD with the start of the shim : warm bridge + host-local", f["first-ADD:bridge"], 3)
		r.atMost("STATUS : VERSION", f["STATUS:VERSION"], 1.3)
	}
	return err
}
