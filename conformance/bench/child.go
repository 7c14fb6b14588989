package main

import (
	"fmt"
	"os"
)

// child runs what a run starts as processes of their own, each in a network
// namespace.
func child(name string, args []string) int {
	children := map[string]func([]string) error{"child-serve": serveTraffic, "child-run": runTraffic, "child-agent": runAgent, "child-forward": runForward}
	f, ok := children[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "bench: no such child: %s\n", name)
		return 2
	}
	if err := f(args); err != nil {
		fmt.Fprintf(os.Stderr, "bench %s %v: %v\n", name, args, err)
		return 1
	}
	return 0
}
