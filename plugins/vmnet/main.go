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
	"errors"
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
	c := &call{ctx: context.Background(), environ: os.Environ(), guarded: func() {}}
	if os.Getenv("CNI_COMMAND") == "ADD" {
		c.ctx, c.guarded = guard(c.ctx)
	}
	os.Exit(c.run(os.Stdin, unsignaled{os.Stdout}, unsignaled{os.Stderr}))
}

// guard returns a context that the usual signals end: a runtime that gives up on ADD
// should find nothing afterwards, so the verb takes back what it did. Other verbs
// have nothing to take back: signals end those as usual, and a DEL that was cut
// short is repeated. Threads are started for it, so that it takes a tenth of the time
// of an ADD: it is done beside the verb, and guarded returns when it is done.
func guard(ctx context.Context) (_ context.Context, guarded func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
		close(done)
		<-signals
		cancel()
	}()
	return ctx, func() { <-done }
}

// An unsignaled is a file whose writer is told that nobody reads any more. Package os
// has that end the process for standard output and error (os/signal, "SIGPIPE"),
// unless a handler is installed, which takes longer than a write.
type unsignaled struct{ *os.File }

// Write implements io.Writer.
func (f unsignaled) Write(p []byte) (n int, err error) {
	raw, err := f.SyscallConn()
	for err == nil && n < len(p) {
		var werr error
		err = raw.Write(func(fd uintptr) bool {
			var m int
			m, werr = syscall.Write(int(fd), p[n:])
			n += max(m, 0)
			return werr != syscall.EAGAIN // then it is waited for
		})
		if werr == syscall.EINTR {
			werr = nil
		}
		err = errors.Join(err, os.NewSyscallError("write", werr))
	}
	return n, err
}
