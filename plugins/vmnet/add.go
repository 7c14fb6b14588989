package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// add makes the attachment: all input is checked, then the runtime's socket is
// connected and the shim reached, then an IPAM plugin is asked where there is
// one, then the shim, then the frame fd is pushed, then the result is built.
// What fails on the way takes back what came before it.
func add(c *call) (out output, err error) {
	prev, err := prevResult(c.conf)
	if err != nil {
		return out, err
	}
	if err := notThere(prev, c.env); err != nil {
		return out, err
	}
	want := c.conf.wanted
	if err := want.parseArgs(c.env.Args); err != nil {
		return out, err
	}
	if err := want.check(c.conf.Spec); err != nil {
		return out, err
	}
	where, err := findPlace(c.ctx, c.env.NetNS)
	if err != nil {
		return out, err
	}
	defer where.Close()
	if where.ns != nil && c.conf.Spec.Offload {
		return out, badValue("offload", true, "false for a network namespace: there the kernel has large segments without it")
	}
	client, err := c.ensure(c.conf.Shim.Spawn)
	if err != nil {
		return out, err
	}
	defer client.Close()

	c.guarded() // nothing has been made so far
	l, err := c.ipamAdd(&want)
	if err != nil {
		return out, err
	}
	undo, done := c.ipamDel, false
	defer func() {
		if !done { // also when something panics
			err = undoing(c.ctx, err, undo)
		}
	}()
	a, err := c.attach(client, want, l, where)
	if err != nil {
		return out, err
	}
	undo = func(ctx context.Context) error {
		// While the interface is there its addresses are in use.
		if err := client.Detach(ctx, a.Network, a.ContainerID, a.IfName); err != nil {
			return err
		}
		return c.ipamDel(ctx)
	}
	if err := c.deliver(client, a, l, where); err != nil {
		return out, err
	}
	res := buildResult(a, l, c.env, prev, c.conf.Spec.DNS, want.DNS)
	if where.ns != nil {
		// The socket is there, and taken: the guest is the kernel.
		findInterface(res, c.env).SocketPath = ""
	}
	if out.doc, err = encodeResult(res, c.conf.CNIVersion); err != nil {
		return out, err
	}
	done = true
	c.logAttachment(a, where.conn != nil)
	out.undo = func() { _ = undoing(c.ctx, nil, undo) } // the error that led here is reported
	return out, nil
}

// deliver gives the runtime the frame fd, or its namespace the interface, where it
// does not fetch the frames itself.
func (c *call) deliver(client *shim.Client, a shim.Attachment, l *lease, where place) error {
	switch {
	case where.conn != nil:
		return c.push(client, where.conn)
	case where.ns != nil:
		return plumb(c.ctx, client, a, where.ns, routesOf(a, l))
	}
	return nil
}

// ensure returns a client for the shim, which it starts if spawn is true.
func (c *call) ensure(spawn bool) (*shim.Client, error) {
	return shim.Ensure(c.ctx, shim.EnsureConfig{
		Address: c.conf.Shim.Address,
		Binary:  c.conf.Shim.Binary,
		Spawn:   spawn,
		Timeout: c.conf.Shim.Timeout,
	})
}

// attach asks the shim. The random request ID makes a second ADD of the same
// interface differ from the first, so that it is refused and the first stays.
func (c *call) attach(client *shim.Client, want wanted, l *lease, where place) (shim.Attachment, error) {
	start := time.Now()
	req := shim.AttachRequest{
		RequestID: strconv.FormatUint(rand.Uint64(), 36) + strconv.FormatUint(rand.Uint64(), 36), // unlike others, no secret
		Network:   c.conf.Spec,
		Frames:    c.conf.Frames, VnetHeader: c.conf.VnetHeader,
		MAC:       want.MAC,
		IPs:       want.IPs,
		Ranges:    want.Ranges,
		Lease:     c.leasePolicy(want),
		DNS:       l.dnsFor(c.conf.Spec.DNS, want.DNS),
		Hostname:  want.Hostname,
		Sandbox:   c.env.NetNS,
		Forwards:  want.Forwards,
		Bandwidth: want.Bandwidth,
		Guard:     c.conf.Guard,
		Aliases:   want.Aliases,
	}
	if where.ns != nil && req.Frames == shim.FramesTap {
		req.Frames = shim.FramesDgram // the link in the namespace is not a tap of the runtime's
	}
	if l != nil {
		req.IPs, req.Gateway, req.Gateway6, req.Routes = l.ips(), l.Gateway, l.Gateway6, l.Routes
	}
	a, err := client.Attach(c.ctx, c.conf.Name, c.env.ContainerID, c.env.IfName, req)
	if err != nil && shim.CodeOf(err) == shim.CodeUnavailable && !errors.Is(err, shim.ErrNotRunning) {
		err = undoing(c.ctx, err, func(ctx context.Context) error { return c.detachIfOurs(ctx, client, start) })
	}
	var se *shim.Error
	if errors.As(err, &se) && se.Key == "requestID" {
		err = errorf(codeConflict, "attachment %s/%s/%s is there already: want a DEL before another ADD, or another CNI_IFNAME",
			c.conf.Name, c.env.ContainerID, c.env.IfName)
	}
	return a, err
}

// detachIfOurs deletes an attachment whose request got no answer. One that was
// there before stays: its ADD succeeded.
func (c *call) detachIfOurs(ctx context.Context, client *shim.Client, start time.Time) error {
	a, err := client.Attachment(ctx, c.conf.Name, c.env.ContainerID, c.env.IfName)
	if err != nil || a.Created.Before(start) || a.Sandbox != c.env.NetNS {
		return nil // nothing to take back, or nobody to ask: the runtime sends DEL
	}
	return client.Detach(ctx, a.Network, a.ContainerID, a.IfName)
}

// push gives the frame fd to the runtime that listens at CNI_NETNS.
func (c *call) push(client *shim.Client, conn *net.UnixConn) error {
	m, f, err := client.Frames(c.ctx, c.conf.Name, c.env.ContainerID, c.env.IfName)
	if err != nil {
		return err
	}
	defer f.Close()
	err = handover.Send(c.ctx, conn, m, f)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return errorf(codeTryAgain, "hand frame fd to CNI_NETNS %q: %w", c.env.NetNS, err)
	}
	return errorf(codeHandover, "hand frame fd to CNI_NETNS %q: %w", c.env.NetNS, err)
}

// logAttachment adds to the log line what ADD made.
func (c *call) logAttachment(a shim.Attachment, pushed bool) {
	c.log.set("mac", a.MAC)
	var ips []string
	for _, ip := range a.IPs {
		ips = append(ips, ip.Address.String())
	}
	if len(ips) > 0 {
		c.log.set("ip", strings.Join(ips, ","))
	}
	c.log.set("socket", a.SocketPath)
	c.log.set("pushed", fmt.Sprint(pushed))
	if c.conf.CNIVersion < "1" { // versions have one digit before each dot
		c.log.note("cniVersion %s has no room for mtu and socketPath in the result: want 1.0.0 or newer", c.conf.CNIVersion)
	}
}

// notThere refuses an ADD in a chain whose result has the interface already.
func notThere(prev *types100.Result, e env) error {
	if i := findInterface(prev, e); i != nil {
		return errorf(codeConflict, "prevResult: interface %q of sandbox %q is there already: want another CNI_IFNAME", i.Name, i.Sandbox)
	}
	return nil
}
