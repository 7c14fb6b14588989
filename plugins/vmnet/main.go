// Command vmnet is the CNI plugin that gives a virtual machine, or a container, a
// network interface: it asks the shim to make one, returns MAC, MTU, addresses
// and a socket in the CNI result, and hands the frame fd to a runtime that
// listens for it.
//
// The plugin keeps nothing itself. Every verb is environment and standard input
// in, one call or two to the shim, and at most one JSON document out:
//
//	env.go       what the CNI_ variables say
//	config.go    the network configuration
//	runtime.go   runtimeConfig, args and CNI_ARGS
//	run.go       the verbs' common frame
//	add.go, …    one file for each verb
//	errors.go    the codes of the answers
//	delegate.go  other plugins that this one runs, for addresses
//
// For people it has arguments: "vmnet validate FILE…", "vmnet schema" and "vmnet version".
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "devel"

func main() {
	if os.Getenv("CNI_COMMAND") == "" && len(os.Args) > 1 {
		os.Exit(command(os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
	}
	switch os.Getenv("CNI_COMMAND") {
	case "", "VERSION", "STATUS": // nothing to take back; the usual signals end them
		os.Exit(run(context.Background(), os.Environ(), os.Stdin, os.Stdout, os.Stderr))
	}
	// A runtime that gives up on ADD should find nothing afterwards, so the
	// usual signals end the context and the verb takes back what it did. Being
	// notified of SIGPIPE turns the death by a closed stdout into an error.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(run(ctx, os.Environ(), os.Stdin, os.Stdout, os.Stderr)) //nolint:gocritic // the process ends
}
