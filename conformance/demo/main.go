// Command demo is the program behind `make demo` and `make demo-vm`: the main
// job from end to end on this machine, without privileges.
//
// It plays a runtime: it executes the CNI plugin through libcni, takes the frame
// fd by push, and puts a guest behind it, a small one in Go or, with -vm, Linux
// in QEMU. The guest gets its address by DHCP, finds its gateway, looks names up,
// and fetches a page from a server outside; two guests reach each other. Then
// everything is taken away again, and the demo shows that nothing is left.
//
// On Linux it does so in namespaces of its own, where a server on 198.51.100.1
// plays the outside, so that nothing leaves the machine. Where those are not to
// be had, the outside is the first address of this machine.
//
// The exit status is 0 when every step went well, 1 when one did not, and 2 for
// a bad flag or when something that -vm needs is missing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/vm"
)

func main() { os.Exit(run(os.Args[1:])) }

// options are the flags.
type options struct {
	bin, netDir string
	vm, console bool
	host        bool
	timeout     time.Duration
}

func parse(args []string) (o options, err error) {
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.StringVar(&o.bin, "bin", "bin", "directory of vmnet and vmnet-shim")
	fs.StringVar(&o.netDir, "net-dir", "examples/net.d", "directory of 10-shared.conflist")
	fs.BoolVar(&o.vm, "vm", false, "use a real Linux guest in QEMU")
	fs.BoolVar(&o.console, "console", false, "with -vm: show the guest's whole console")
	fs.BoolVar(&o.host, "host", false, "stay in the namespaces of this machine")
	fs.DurationVar(&o.timeout, "timeout", 0, "how long all may take (default 1m, with -vm 5m)")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("argument %q: want none", fs.Arg(0))
	}
	if o.timeout == 0 {
		o.timeout = time.Minute
		if o.vm {
			o.timeout = 5 * time.Minute
		}
	}
	return o, nil
}

func run(args []string) int {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil && o.vm {
		err = findVM()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 2
	}
	w, status, done := enter(o, args)
	if done {
		return status
	}
	defer w.close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if err := show(ctx, o, w); err != nil {
		return 1
	}
	return 0
}

// findVM looks for what -vm needs, so that what is missing is told before
// anything is started.
func findVM() error {
	_, qemu := vm.FindQEMU()
	_, busybox := vm.FindBusybox()
	_, kernel := vm.FindKernel()
	if err := errors.Join(qemu, busybox, kernel); err != nil {
		return fmt.Errorf("-vm needs QEMU, a static busybox and a Linux kernel:\n%w\n(conformance/deps.sh vm gets them on Debian; make demo needs none of them)", err)
	}
	return nil
}

// show runs the demo in a directory of its own, and removes it.
func show(ctx context.Context, o options, w *world) (err error) {
	p := newPrinter(os.Stdout)
	defer p.late.Stop()
	start := time.Now()
	dir, err := os.MkdirTemp("", "vmnet-demo-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // on macOS /tmp and /var are symbolic links
		fmt.Fprintln(os.Stderr, "demo:", err)
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{options: o, printer: p, world: w, dir: dir}
	err = d.all(ctx)
	if err != nil {
		d.failed(err)
		return err
	}
	p.end("all went well in %.1f s", time.Since(start).Seconds())
	return nil
}
