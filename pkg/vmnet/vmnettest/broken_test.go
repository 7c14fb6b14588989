package vmnettest_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/vmnettest"
)

// faults are ways to break the contract, with the case that must notice.
var faults = map[string]struct {
	noticedBy string
	device    func(vmnet.Device) vmnet.Device
}{
	"events lost":        {"events/none_lost", func(d vmnet.Device) vmnet.Device { return &deaf{Device: d} }},
	"no level":           {"handler/level", func(d vmnet.Device) vmnet.Device { return &edge{Device: d} }},
	"slices kept":        {"frames/slices_not_kept", func(d vmnet.Device) vmnet.Device { return &keeper{Device: d} }},
	"close ignored":      {"close/after", func(d vmnet.Device) vmnet.Device { return &immortal{Device: d} }},
	"long frames taken":  {"frames/too_big,_too_short", func(d vmnet.Device) vmnet.Device { return &greedy{Device: d} }},
	"order reversed":     {"frames/order", func(d vmnet.Device) vmnet.Device { return &shuffler{Device: d} }},
	"another MAC":        {"info/identity", func(d vmnet.Device) vmnet.Device { return &fickle{Device: d} }},
	"overlapping":        {"handler/no_overlap", func(d vmnet.Device) vmnet.Device { return &eager{Device: d} }},
	"goroutine left":     {"info/sane", func(d vmnet.Device) vmnet.Device { go func() { select {} }(); return d }},
	"reads keep waiting": {"frames/none_waiting", func(d vmnet.Device) vmnet.Device { return &chatty{Device: d} }},
}

const brokenEnv = "VMNETTEST_FAULT"

// TestSuiteNotices runs the suite, in a process of its own, on drivers that break
// one promise each.
func TestSuiteNotices(t *testing.T) {
	if testing.Short() {
		t.Skip("some faults are noticed by waiting")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(self, "-test.run", "^TestBroken$/^"+strings.ReplaceAll(fault.noticedBy, "/", "$/^")+"$", "-test.timeout", "60s")
			cmd.Env = append(os.Environ(), brokenEnv+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("not noticed:\n%s", out)
			}
			if !strings.Contains(string(out), "the rule: ") || !strings.Contains(string(out), fault.noticedBy) {
				t.Errorf("noticed without naming the rule of %s:\n%s", fault.noticedBy, out)
			}
		})
	}
}

// TestBroken is what TestSuiteNotices runs.
func TestBroken(t *testing.T) {
	name := os.Getenv(brokenEnv)
	if name == "" {
		t.Skip("only with " + brokenEnv)
	}
	vmnettest.TestDriver(t, vmnettest.Harness{
		Driver:  &brokenDriver{device: faults[name].device},
		Network: vmnet.NetworkConfig{Name: "broken"}, Patience: 2 * time.Second,
	})
}

type brokenDriver struct {
	vmnettest.Hub
	device func(vmnet.Device) vmnet.Device
}

func (b *brokenDriver) Open(ctx context.Context, cfg vmnet.NetworkConfig) (vmnet.Network, error) {
	n, err := b.Hub.Open(ctx, cfg)
	return &brokenNetwork{n, b.device}, err
}

type brokenNetwork struct {
	vmnet.Network
	device func(vmnet.Device) vmnet.Device
}

func (n *brokenNetwork) Start(ctx context.Context, cfg vmnet.Config) (vmnet.Device, error) {
	d, err := n.Network.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return n.device(d), nil
}

// deaf loses every third event.
type deaf struct {
	vmnet.Device
	calls int
}

func (d *deaf) SetEventHandler(fn func()) error {
	if fn == nil {
		return d.Device.SetEventHandler(nil)
	}
	return d.Device.SetEventHandler(func() {
		if d.calls++; d.calls%3 != 0 {
			fn()
		}
	})
}

// edge calls no handler for what was there before.
type edge struct {
	vmnet.Device
}

func (e *edge) SetEventHandler(fn func()) error {
	if fn == nil {
		return e.Device.SetEventHandler(nil)
	}
	first := true
	return e.Device.SetEventHandler(func() {
		if !first {
			fn()
		}
		first = false
	})
}

// keeper sends each batch when the next one comes.
type keeper struct {
	vmnet.Device
	kept [][]byte
}

func (k *keeper) WriteBatch(frames [][]byte) (int, error) {
	if k.kept != nil {
		if n, err := k.Device.WriteBatch(k.kept); err != nil {
			return n, err
		}
	}
	k.kept = append([][]byte(nil), frames...)
	return len(frames), nil
}

// immortal goes on after Close.
type immortal struct{ vmnet.Device }

func (i *immortal) WriteBatch(frames [][]byte) (int, error) { return len(frames), nil }

// greedy takes frames of any length.
type greedy struct{ vmnet.Device }

func (g *greedy) WriteBatch(frames [][]byte) (int, error) {
	for n, f := range frames {
		size := min(len(f), g.Info().MaxPacketSize)
		if _, err := g.Device.WriteBatch([][]byte{f[:size]}); err != nil {
			return n, err
		}
	}
	return len(frames), nil
}

// shuffler sends batches backwards.
type shuffler struct{ vmnet.Device }

func (s *shuffler) WriteBatch(frames [][]byte) (int, error) {
	for k := range frames {
		if _, err := s.Device.WriteBatch(frames[len(frames)-1-k:][:1]); err != nil {
			return k, err
		}
	}
	return len(frames), nil
}

var seq atomic.Uint32

// fickle has a new MAC each time.
type fickle struct{ vmnet.Device }

func (f *fickle) Info() vmnet.Info {
	i := f.Device.Info()
	i.MAC = net.HardwareAddr{2, 0, 0, 0, 0, byte(seq.Add(1))}
	return i
}

// eager calls the handler from two goroutines.
type eager struct{ vmnet.Device }

func (e *eager) SetEventHandler(fn func()) error {
	if fn == nil {
		return e.Device.SetEventHandler(nil)
	}
	return e.Device.SetEventHandler(func() {
		second := make(chan bool)
		go func() { fn(); close(second) }()
		fn()
		<-second
	})
}

// chatty always has a frame.
type chatty struct{ vmnet.Device }

func (c *chatty) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	sizes[0] = 60
	return 1, nil
}
