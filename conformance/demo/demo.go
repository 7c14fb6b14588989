package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/guest"
)

// A demo is one run.
type demo struct {
	options
	*printer
	world   *world
	dir     string
	m       *e2e.Machine
	members []*member
}

// A member is a container of the network: its attachment and the guest on it.
type member struct {
	id     string
	pushed *e2e.Pushed
	addr   netip.Prefix // of the CNI result
	gw     netip.Addr
	stop   func() // ends the guest; nil when none runs
}

// cleanTime bounds taking everything away after something went wrong.
const cleanTime = 20 * time.Second

// all is the whole demo.
func (d *demo) all(ctx context.Context) error {
	if err := d.setUp(); err != nil {
		return err
	}
	defer d.cleanUp()
	first := "demo-1"
	if d.vm {
		first = "demo-vm"
	}
	one, err := d.add(ctx, first)
	if err != nil {
		return err
	}
	two, err := d.add(ctx, "demo-2")
	if err != nil {
		return err
	}
	if d.vm {
		err = d.tourVM(ctx, one, two)
	} else {
		err = d.tourGo(ctx, one, two)
	}
	if err != nil {
		return err
	}
	if err := d.takeAway(ctx); err != nil {
		return err
	}
	return d.prove(ctx)
}

// setUp makes the machine.
func (d *demo) setUp() error {
	conf := filepath.Join(d.netDir, "10-shared.conflist")
	list, err := os.ReadFile(conf)
	if err == nil {
		d.m, err = e2e.New(e2e.Config{Bin: d.bin, Dir: d.dir, ConfList: list})
	}
	if err != nil {
		d.fact("demo", "%v", err)
		return err
	}
	who := fmt.Sprintf("an unprivileged user, uid %d", os.Geteuid())
	if os.Geteuid() == 0 {
		who = "root"
	}
	d.head("vmnet demo, %s/%s", runtime.GOOS, runtime.GOARCH)
	d.fact("runs as", "%s", who)
	d.fact("in", "%s", d.world.about)
	d.fact("network", "%q of %s", d.m.Network(), conf)
	d.fact("directory", "%s", d.dir)
	return nil
}

// add executes ADD and prints the result: whole for the first, a line for more.
func (d *demo) add(ctx context.Context, id string) (*member, error) {
	d.head("ADD %s, as a runtime does: through libcni, with a socket to listen on as CNI_NETNS", id)
	mb := &member{id: id}
	err := d.step("ADD", func() (detail string, err error) {
		if mb.pushed, err = d.m.AddPush(ctx, id); err != nil {
			return "", err
		}
		d.members = append(d.members, mb)
		return fmt.Sprintf("frame fd taken by push: %s, frames of at most %d bytes", mb.pushed.Message.Kind, mb.pushed.Message.MaxFrameSize), mb.read()
	})
	if err != nil {
		return nil, err
	}
	d.json(mb.pushed.Result)
	return mb, nil
}

// read checks what the result must have, and takes address and gateway from it.
func (mb *member) read() error {
	r, msg := mb.pushed.Result, mb.pushed.Message
	if len(r.Interfaces) == 0 || len(r.IPs) == 0 {
		return fmt.Errorf("result without an interface or an address: %+v", r)
	}
	ones, _ := r.IPs[0].Address.Mask.Size()
	addr, _ := netip.AddrFromSlice(r.IPs[0].Address.IP.To4())
	mb.addr = netip.PrefixFrom(addr, ones)
	mb.gw, _ = netip.AddrFromSlice(r.IPs[0].Gateway.To4())
	i := r.Interfaces[0]
	if i.Name != e2e.IfName || i.Mac != msg.MAC || i.Mtu != msg.MTU || i.Sandbox != mb.pushed.NetNS {
		return fmt.Errorf("interface %+v does not fit what was pushed, %+v", i, msg)
	}
	info, err := os.Stat(i.SocketPath)
	if err != nil {
		return fmt.Errorf("socketPath: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("socketPath %s: %s, want a socket", i.SocketPath, info.Mode())
	}
	return nil
}

// start puts a small guest on the member's frame fd.
func (mb *member) start() (*guest.Guest, error) {
	msg := mb.pushed.Message
	port, err := guest.OpenPort(mb.pushed.File, msg.MaxFrameSize)
	mb.pushed.File = nil
	if err != nil {
		return nil, err
	}
	mac, err := parseMAC(msg.MAC)
	if err != nil {
		return nil, errors.Join(err, port.Close())
	}
	g, err := guest.New(port, guest.Config{MAC: mac, MTU: msg.MTU, Hostname: mb.id})
	if err != nil {
		return nil, err
	}
	mb.stop = func() { _ = g.Close() }
	return g, nil
}

// stopGuests ends the guests that run.
func (d *demo) stopGuests() {
	for _, mb := range d.members {
		if mb.stop != nil {
			mb.stop()
			mb.stop = nil
		}
		if mb.pushed.File != nil {
			_ = mb.pushed.File.Close()
			mb.pushed.File = nil
		}
	}
}

// takeAway executes CHECK and DEL for all.
func (d *demo) takeAway(ctx context.Context) error {
	d.head("CHECK and DEL")
	for _, mb := range d.members {
		err := d.step("CHECK "+mb.id, func() (string, error) { return "as ADD left it", d.m.Check(ctx, mb.id, mb.pushed.NetNS) })
		if err != nil {
			return err
		}
	}
	d.stopGuests()
	for _, mb := range d.members {
		err := d.step("DEL "+mb.id, func() (string, error) {
			return "interface, sockets and lease are gone", d.m.Del(ctx, mb.id, mb.pushed.NetNS)
		})
		if err != nil {
			return err
		}
	}
	again := d.members[0]
	d.members = nil
	return d.step("DEL "+again.id, func() (string, error) {
		return "a second time: nothing to do is no error", d.m.Del(ctx, again.id, again.pushed.NetNS)
	})
}

// cleanUp takes away what a demo that went wrong has left.
func (d *demo) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), cleanTime)
	defer cancel()
	d.stopGuests()
	for _, mb := range d.members {
		_ = d.m.Del(ctx, mb.id, mb.pushed.NetNS) // the error that led here is the one to tell
	}
	_, _ = d.m.Stop(ctx)
}

// failed tells where to look.
func (d *demo) failed(err error) {
	d.end("the demo went wrong: %v", err)
	if d.m == nil {
		return
	}
	if log, ok := d.m.Log(); ok {
		d.printf("\nthe last lines of the shim's log:\n%s", log)
	}
}
