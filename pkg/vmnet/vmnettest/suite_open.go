package vmnettest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/google/uuid"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func openCases() []testCase {
	return []testCase{
		{"defaults", false, "Network.Info returns the configuration of Open with every default filled in", openDefaults},
		{"bad values", false, "Open returns InvalidArgument for a value that cannot be, or wraps errors.ErrUnsupported, and leaves nothing behind", openBad},
		{"modes", false, "Open takes a mode, or returns an error that wraps errors.ErrUnsupported, ErrPermission or InvalidArgument", openModes},
		{"context", true, "the context of Open and Start limits the opening only", openContext},
		{"close", false, "Network.Close is idempotent, may be called by several, stops the interfaces, and Start then returns ErrClosed", openClose},
		{"single", false, "vmnet.Start opens a network with one interface, and closing the interface closes the network", openSingle},
	}
}

func openDefaults(k *kit) {
	asked := k.config()
	i := k.open(func(c *vmnet.NetworkConfig) { *c = asked }).Info()
	if i.Name != asked.Name || i.Mode != asked.Mode {
		k.Errorf("name %q and mode %s, want %q and %s", i.Name, i.Mode, asked.Name, asked.Mode)
	}
	if i.MTU < vmnet.MinMTU || i.MTU > vmnet.MaxMTU || asked.MTU != 0 && i.MTU != asked.MTU {
		k.Errorf("MTU %d, asked for %d", i.MTU, asked.MTU)
	}
	if asked.Subnet.IsValid() && i.Subnet != asked.Subnet {
		k.Errorf("subnet %s, want %s", i.Subnet, asked.Subnet)
	}
	if i.Layer2 {
		return
	}
	if !i.Subnet.IsValid() && !i.Subnet6.IsValid() {
		k.Errorf("neither Subnet nor Subnet6 is set, and Layer2 is false")
	}
	if i.Subnet.IsValid() && (i.Subnet != i.Subnet.Masked() || !i.Subnet.Contains(i.Gateway)) {
		k.Errorf("subnet %s with gateway %s", i.Subnet, i.Gateway)
	}
}

func openBad(k *kit) {
	for name, change := range map[string]func(*vmnet.NetworkConfig){
		"mtu below the minimum": func(c *vmnet.NetworkConfig) { c.MTU = vmnet.MinMTU - 1 },
		"mtu above the maximum": func(c *vmnet.NetworkConfig) { c.MTU = vmnet.MaxMTU + 1 },
		"negative mtu":          func(c *vmnet.NetworkConfig) { c.MTU = -1 },
		"unknown mode":          func(c *vmnet.NetworkConfig) { c.Mode = 99 },
		"subnet not masked": func(c *vmnet.NetworkConfig) {
			c.Subnet, c.Gateway = netip.MustParsePrefix("192.168.127.9/24"), netip.Addr{}
		},
		"gateway outside the subnet": func(c *vmnet.NetworkConfig) {
			c.Subnet, c.Gateway = netip.MustParsePrefix("192.168.127.0/24"), netip.MustParseAddr("10.0.0.1")
		},
		"subnet6 that is no /64": func(c *vmnet.NetworkConfig) { c.Subnet6 = netip.MustParsePrefix("fd5e:ed00:127::/72") },
	} {
		cfg := k.config()
		cfg.Layer2 = false
		change(&cfg)
		n, err := k.h.Driver.Open(k.ctx, cfg)
		if err == nil {
			k.Errorf("%s: opened", name)
			err = n.Close()
		}
		if err != nil && !errors.Is(err, vmnet.InvalidArgument) && !errors.Is(err, errors.ErrUnsupported) {
			k.Errorf("%s: %v", name, err)
		}
	}
}

func openModes(k *kit) {
	for _, mode := range []vmnet.Mode{vmnet.Shared, vmnet.Host, vmnet.Bridged} {
		cfg := k.config()
		cfg.Mode, cfg.Uplink = mode, ""
		n, err := k.h.Driver.Open(k.ctx, cfg)
		switch {
		case err == nil && mode == vmnet.Bridged:
			k.Errorf("bridged without an uplink: opened")
			fallthrough
		case err == nil:
			if got := n.Info().Mode; got != mode {
				k.Errorf("mode %s opened as %s", mode, got)
			}
			if err := n.Close(); err != nil {
				k.Errorf("close: %v", err)
			}
		case errors.Is(err, errors.ErrUnsupported), errors.Is(err, vmnet.ErrPermission):
		case (mode == vmnet.Bridged || k.h.Network.Mode == vmnet.Bridged) && errors.Is(err, vmnet.InvalidArgument):
			// The harness's uplink or subnet is of the other kind.
		default:
			k.Errorf("mode %s: %v", mode, err)
		}
	}
}

func openContext(k *kit) {
	ctx, cancel := context.WithCancel(k.ctx)
	n, err := k.h.Driver.Open(ctx, k.config())
	if err != nil {
		cancel()
		k.Fatalf("open: %v", err)
	}
	k.Cleanup(func() { n.Close() })
	var ifcs [2]*vmnet.Interface
	for x := range ifcs {
		d, err := n.Start(ctx, vmnet.Config{})
		if err != nil {
			cancel()
			k.Fatalf("start: %v", err)
		}
		ifcs[x] = vmnet.NewInterface(n.Info().Name, d)
		k.Cleanup(func() { ifcs[x].Close() })
	}
	cancel()
	k.join(ifcs[0], ifcs[1])

	if n, err := k.h.Driver.Open(ctx, k.config()); err == nil {
		n.Close() // a driver that opens without waiting need not look at ctx
	} else if !errors.Is(err, context.Canceled) {
		k.Errorf("open with a cancelled context: %v", err)
	}
}

func openClose(k *kit) {
	n := k.open(nil)
	i := k.start(n, vmnet.Config{})
	wait := background(func() error { return i.WaitForEvent(k.ctx) })
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := n.Close(); err != nil {
				k.Errorf("close: %v", err)
			}
		})
	}
	all.Wait()
	if _, err := i.Read(make([]byte, i.MaxPacketSize())); !errors.Is(err, net.ErrClosed) {
		k.Errorf("read on a closed network: %v", err)
	}
	if d, err := n.Start(k.ctx, vmnet.Config{}); !errors.Is(err, net.ErrClosed) {
		k.Errorf("start on a closed network: %v", err)
		if err == nil {
			d.Close()
		}
	}
	if err := i.Close(); err != nil {
		k.Errorf("close an interface of a closed network: %v", err)
	}
	_ = receive(k, "the wait ending", wait) // ended by an event or by the close
}

func openSingle(k *kit) {
	id := uuid.New()
	cfg := k.config()
	i, err := vmnet.Start(k.ctx, k.h.Driver, cfg, vmnet.Config{UUID: id})
	if err != nil {
		k.Fatalf("start: %v", err)
	}
	if i.UUID() != id {
		k.Errorf("UUID %s, want %s", i.UUID(), id)
	}
	for range 2 {
		if err := i.Close(); err != nil {
			k.Errorf("close: %v", err)
		}
	}
	cfg.MTU = 1
	if _, err = vmnet.Start(k.ctx, k.h.Driver, cfg, vmnet.Config{}); err == nil {
		k.Fatalf("start with an MTU of 1: no error")
	}
	var oe *vmnet.OpError
	if !errors.As(err, &oe) || oe.Net != cfg.Name || oe.Op != "open" {
		k.Errorf("error %#v, want an OpError that names the network %q", err, cfg.Name)
	}
}
