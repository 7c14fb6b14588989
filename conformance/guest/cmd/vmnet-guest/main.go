// Command vmnet-guest is a small guest on a frame socket: it gets its address by
// DHCP, finds and pings its gateway, looks names up, fetches URLs, and tells
// each step with its time. It shows that an attachment works, without a machine:
//
//	vmnet-shim run -- vmnet-guest -get http://example.com/
//	vmnet-guest -socket /run/vmnet/s/….sock -kind dgram -mac 02:…
//
// With -serve it then answers HTTP requests on port 80 until it gets a signal.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/guest"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "vmnet-guest:", err)
		}
		os.Exit(1)
	}
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return fmt.Sprint(*l) }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// options are the flags.
type options struct {
	fd                int
	socket, kind      string
	mac, hostname     string
	mtu               int
	lookup, ping, get list
	serve             bool
	timeout           time.Duration
	output            string
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("vmnet-guest", flag.ContinueOnError)
	fs.IntVar(&o.fd, "fd", envInt("VMNET_FD", 3), "frame fd, unless -socket is given ($VMNET_FD)")
	fs.StringVar(&o.socket, "socket", "", "socketPath of the attachment")
	fs.StringVar(&o.kind, "kind", handover.KindDgram, "kind of -socket: dgram or stream")
	fs.StringVar(&o.mac, "mac", os.Getenv("VMNET_MAC"), "MAC of the guest ($VMNET_MAC)")
	fs.IntVar(&o.mtu, "mtu", envInt("VMNET_MTU", vmnet.DefaultMTU), "largest MTU in bytes ($VMNET_MTU)")
	fs.StringVar(&o.hostname, "hostname", "", "host name that DHCP is told")
	fs.Var(&o.lookup, "lookup", "look up `NAME` (again for more)")
	fs.Var(&o.ping, "ping", "ping `ADDRESS` besides the gateway (again for more)")
	fs.Var(&o.get, "get", "fetch `URL` (again for more)")
	fs.BoolVar(&o.serve, "serve", false, "then serve HTTP on port 80 until a signal comes")
	fs.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long all steps together may take")
	fs.StringVar(&o.output, "output", "text", "text, or json: one object a line")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("argument %q: want none", fs.Arg(0))
	case o.output != "text" && o.output != "json":
		return o, fmt.Errorf("-output %q: want text or json", o.output)
	case o.kind != handover.KindDgram && o.kind != handover.KindStream:
		return o, fmt.Errorf("-kind %q: want dgram or stream", o.kind)
	case o.mtu < vmnet.MinMTU || o.mtu > vmnet.MaxMTU:
		return o, fmt.Errorf("-mtu %d: want %d to %d", o.mtu, vmnet.MinMTU, vmnet.MaxMTU)
	}
	return o, nil
}

func envInt(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(o.mac)
	if err != nil {
		return fmt.Errorf("-mac %q: want an address such as 02:00:00:00:00:01", o.mac)
	}
	port, remove, err := o.open()
	if err != nil {
		return err
	}
	defer remove()
	g, err := guest.New(port, guest.Config{MAC: mac, MTU: o.mtu, Hostname: o.hostname})
	if err != nil {
		return err
	}
	defer g.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	s := steps{g: g, json: o.output == "json", out: os.Stdout}
	limited, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if err := s.all(limited, o); err != nil || !o.serve {
		return err
	}
	return s.serve(ctx)
}

// open returns the port that the flags name, and what removes its files.
func (o *options) open() (relay.Port, func(), error) {
	size := o.mtu + vmnet.HeaderLen
	if o.socket != "" {
		return guest.DialPort(o.socket, o.kind, size)
	}
	p, err := guest.OpenPort(os.NewFile(uintptr(o.fd), "frames"), size)
	if err != nil {
		return nil, nil, fmt.Errorf("fd %d: %w; give a frame fd, as vmnet-shim run does, or -socket", o.fd, err)
	}
	return p, func() {}, nil
}
