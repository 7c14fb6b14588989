package vmnettest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A Harness is what TestDriver needs to know of a driver. Every flag takes
// something away: the zero value of the flags is a driver that does everything.
type Harness struct {
	// Driver is the driver under test.
	Driver vmnet.Driver
	// Network is opened by every case, with another name each time and with the
	// changes that the case is about.
	Network vmnet.NetworkConfig

	// NoPeers says that interfaces of one network do not reach each other, so
	// that the suite cannot make frames arrive. Most cases are left out then.
	NoPeers bool
	// NoMAC says that Config.MAC is refused with errors.ErrUnsupported, since
	// the system chooses.
	NoMAC bool
	// Direct says that the network has two interfaces, joined by a cable and not
	// by a switch: Isolated means nothing, and a slow reader makes the other's
	// writes return BufferExhausted.
	Direct bool
	// MaxQueue is the largest number of frames that may wait unread at an
	// interface. Zero: 16384.
	MaxQueue int
	// Patience is how long a case may take. Zero: two minutes.
	Patience time.Duration
}

// A testCase is one promise. rule is printed when the case fails.
type testCase struct {
	name  string
	peers bool // needs frames to arrive
	rule  string
	run   func(k *kit)
}

// TestDriver checks that a driver keeps the contract of package vmnet. It opens
// and closes networks of its own, and checks after each case that no goroutine
// is left. Run it with the race detector too.
func TestDriver(t *testing.T, h Harness) {
	if h.MaxQueue == 0 {
		h.MaxQueue = 16384
	}
	if h.Patience == 0 {
		h.Patience = 2 * time.Minute
	}
	for _, group := range []struct {
		name  string
		cases []testCase
	}{
		{"open", openCases()},
		{"info", infoCases()},
		{"frames", frameCases()},
		{"events", eventCases()},
		{"handler", handlerCases()},
		{"close", closeCases()},
		{"switch", switchCases()},
		{"forward", forwardCases()},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) { runCase(t, h, c) })
			}
		})
	}
}

func runCase(t *testing.T, h Harness, c testCase) {
	if c.peers && h.NoPeers {
		t.Skip("interfaces of this driver's networks do not reach each other")
	}
	before := goleak.IgnoreCurrent()
	// Cleanups run last in, first out: the leak check comes after everything that
	// the case opened was closed, the rule after the leak check.
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the rule: %s", c.rule)
		}
	})
	t.Cleanup(func() {
		if !t.Skipped() {
			leak.None(t, before)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), h.Patience)
	t.Cleanup(cancel)
	c.run(&kit{T: t, h: h, ctx: ctx})
}

// moment is how long a case watches for what must not happen. A driver that is
// right never fails for it being too short.
const moment = 50 * time.Millisecond

// A kit is what a case works with.
type kit struct {
	*testing.T
	h   Harness
	ctx context.Context // ends when the case has taken too long
}

// nets makes network names unlike each other.
var nets atomic.Uint32

// config returns the harness's network with a name of its own.
func (k *kit) config() vmnet.NetworkConfig {
	cfg := k.h.Network
	cfg.Name = fmt.Sprintf("%s%d", cfg.Name, nets.Add(1))
	return cfg
}

// open opens the harness's network; change may be nil.
func (k *kit) open(change func(*vmnet.NetworkConfig)) vmnet.Network {
	k.Helper()
	cfg := k.config()
	if change != nil {
		change(&cfg)
	}
	n, err := k.h.Driver.Open(k.ctx, cfg)
	if err != nil {
		k.Fatalf("open %+v: %v", cfg, err)
	}
	k.Cleanup(func() {
		if err := n.Close(); err != nil {
			k.Errorf("close network: %v", err)
		}
	})
	return n
}

// device starts a device on n.
func (k *kit) device(n vmnet.Network, cfg vmnet.Config) vmnet.Device {
	k.Helper()
	d, err := n.Start(k.ctx, cfg)
	if err != nil {
		k.Fatalf("start %+v: %v", cfg, err)
	}
	k.Cleanup(func() {
		if err := d.Close(); err != nil {
			k.Errorf("close device: %v", err)
		}
	})
	return d
}

// start starts a device on n and returns it as an Interface.
func (k *kit) start(n vmnet.Network, cfg vmnet.Config) *vmnet.Interface {
	k.Helper()
	return vmnet.NewInterface(n.Info().Name, k.device(n, cfg))
}

// one opens a network with a single interface.
func (k *kit) one() *vmnet.Interface {
	k.Helper()
	return k.start(k.open(nil), vmnet.Config{})
}

// two opens a network with two interfaces that have been seen to reach each
// other. Their events have not been asked for yet.
func (k *kit) two() (a, b *vmnet.Interface) {
	k.Helper()
	n := k.open(nil)
	a, b = k.start(n, vmnet.Config{}), k.start(n, vmnet.Config{UUID: uuid.New()})
	k.join(a, b)
	return a, b
}
