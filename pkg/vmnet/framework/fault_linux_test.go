package framework_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

// begin opens a network and starts a device, and returns the first error.
func begin(d vmnet.Driver, cfg vmnet.NetworkConfig) error {
	n, err := d.Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	_, err = n.Start(context.Background(), vmnet.Config{})
	return errors.Join(err, n.Close())
}

// TestStartStatus has a start end with every status there is, with an interface
// and without one.
func TestStartStatus(t *testing.T) {
	for _, release := range []int{macOS26, macOS15} {
		for _, null := range []int64{0, 1} {
			for _, code := range []vmnet.Code{1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 4711} {
				t.Run(fmt.Sprintf("%d/null %d/%d", release, null, code), func(t *testing.T) {
					l := load(t, release)
					l.control(t, "fail.start", int64(code))
					l.control(t, "null.start", null)
					err := begin(l.driver(t, framework.Config{}), shared("status"))
					if !errors.Is(err, code) {
						t.Errorf("%v, want code %d", err, code)
					}
				})
			}
		}
	}
}

// TestNullStart has a start return no interface and never call its handler.
func TestNullStart(t *testing.T) {
	l := load(t, macOS26)
	l.control(t, "fail.start", 1001)
	l.control(t, "null.start", 2)
	var err error
	impatient(func(limit time.Duration) bool {
		d := l.driver(t, framework.Config{StartTimeout: limit})
		err = begin(d, shared("null"))
		settled(t, d)
		return !errors.Is(err, os.ErrDeadlineExceeded)
	})
	if !errors.Is(err, vmnet.Failure) || !strings.Contains(err.Error(), "no interface, and no status within") {
		t.Error(err)
	}
}

// TestHang has every call that may hang do so, in the call and before the handler:
// the error says so, and when the call ends at last nothing is left.
func TestHang(t *testing.T) {
	for _, c := range []struct {
		op      string
		release int
		where   int64
		call    string
		run     func(d vmnet.Driver, hang, end func()) error
	}{
		{"network.create", macOS26, 2, "vmnet_network_create", hangStart},
		{"start", macOS26, 1, "vmnet_interface_start_with_network: handler", hangStart},
		{"start", macOS26, 2, "vmnet_interface_start_with_network", hangStart},
		{"start", macOS15, 1, "vmnet_start_interface: handler", hangStart},
		{"start", macOS15, 2, "vmnet_start_interface", hangStart},
		{"stop", macOS15, 1, "vmnet_stop_interface: handler", hangStop},
		{"stop", macOS15, 2, "vmnet_stop_interface", hangStop},
		{"event", macOS15, 2, "vmnet_interface_set_event_callback", hangEvent},
		{"rule", macOS15, 1, "vmnet_interface_get_ip_port_forwarding_rules: handler", hangRule},
		{"rule", macOS15, 2, "vmnet_interface_get_ip_port_forwarding_rules", hangRule},
		{"network.serialize", macOS26, 2, "vmnet_network_copy_serialization", hangSerialize},
		{"network.release", macOS26, 2, "CFRelease", hangRelease},
	} {
		t.Run(fmt.Sprintf("%s %d on %d", c.op, c.where, c.release), func(t *testing.T) {
			l := load(t, c.release)
			var err error
			var s framework.Stats
			right := func() bool {
				var hung *framework.HungError
				return errors.As(err, &hung) && hung.Call == c.call && errors.Is(err, os.ErrDeadlineExceeded)
			}
			impatient(func(limit time.Duration) bool {
				cfg := framework.Config{StartTimeout: limit}
				if c.op == "stop" || c.op == "event" || c.op == "network.release" {
					cfg = framework.Config{StopTimeout: limit}
				}
				d := l.driver(t, cfg)
				err = c.run(d, func() { l.control(t, "hang."+c.op, c.where) }, func() {
					s = d.(framework.Inspector).Stats()
					l.control(t, "hang."+c.op, 0)
				})
				settled(t, d)
				return right()
			})
			if !right() {
				t.Errorf("%v, want a HungError of %s", err, c.call)
			}
			if c.op != "rule" && s.HungTotal == 0 {
				t.Errorf("not counted: %+v", s)
			}
			// The driver's cleanup sees that nothing is left.
		})
	}
}

// hangStart and those after it return what came of the call that hangs between hang
// and end. What they open they close after that.
func hangStart(d vmnet.Driver, hang, end func()) error {
	hang()
	defer end()
	return begin(d, shared("hang"))
}

func hangStop(d vmnet.Driver, hang, end func()) error {
	return hangDevice(d, end, func(dev vmnet.Device) error { hang(); return dev.Close() })
}

func hangEvent(d vmnet.Driver, hang, end func()) error {
	return hangDevice(d, end, func(dev vmnet.Device) error { hang(); return dev.SetEventHandler(func() {}) })
}

func hangRule(d vmnet.Driver, hang, end func()) error {
	return hangDevice(d, end, func(dev vmnet.Device) error {
		hang()
		_, err := dev.(vmnet.Forwarder).Forwards(context.Background())
		return err
	})
}

// hangDevice has a device do something.
func hangDevice(d vmnet.Driver, end func(), do func(vmnet.Device) error) error {
	return hangNetwork(d, end, func(n vmnet.Network) error {
		dev, err := n.Start(context.Background(), vmnet.Config{})
		if err != nil {
			return err
		}
		return do(dev)
	})
}

func hangSerialize(d vmnet.Driver, hang, end func()) error {
	return hangNetwork(d, end, func(n vmnet.Network) error {
		hang()
		_, err := n.(vmnet.Serializer).Serialize(context.Background())
		return err
	})
}

func hangRelease(d vmnet.Driver, hang, end func()) error {
	return hangNetwork(d, end, func(n vmnet.Network) error { hang(); return n.Close() })
}

// hangNetwork has a network do something.
func hangNetwork(d vmnet.Driver, end func(), do func(vmnet.Network) error) error {
	n, err := d.Open(context.Background(), shared("hang"))
	if err != nil {
		end()
		return err
	}
	err = do(n)
	end()
	_ = n.Close() // may tell again what hung, or take its time on a busy machine
	return err
}

// A hasty context ends between the moment it is looked at first and that at which it
// is waited for.
type hasty struct {
	context.Context
	looked bool
	done   chan struct{}
}

func newHasty() *hasty {
	h := &hasty{Context: context.Background(), done: make(chan struct{})}
	close(h.done)
	return h
}

func (h *hasty) Done() <-chan struct{} { return h.done }

func (h *hasty) Err() error {
	if !h.looked {
		h.looked = true
		return nil
	}
	return context.Canceled
}

// TestCloseBeforeCall gives calls up before the goroutines that make them run, and
// closes the network: they come to nothing, and not to a network that is gone.
func TestCloseBeforeCall(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // goroutines begin late then
	l := load(t, macOS26)
	d := l.driver(t, framework.Config{})
	for range 20 {
		for what, call := range map[string]func(vmnet.Network) error{
			"start":     func(n vmnet.Network) error { _, err := n.Start(newHasty(), vmnet.Config{}); return err },
			"serialize": func(n vmnet.Network) error { _, err := n.(vmnet.Serializer).Serialize(newHasty()); return err },
		} {
			n, err := d.Open(context.Background(), vmnet.NetworkConfig{Name: "hasty"})
			if err != nil {
				t.Fatal(err)
			}
			if err := call(n); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", what, err)
			}
			if err := n.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			settled(t, d) // what was given up has run
		}
	}
}

// TestCancel gives a start up when its context ends, and stops what comes of it.
func TestCancel(t *testing.T) {
	l := load(t, macOS15)
	d := l.driver(t, framework.Config{})
	n := openNetwork(t, d, shared("cancel"))
	l.control(t, "hang.start", 1)
	ctx, cancel := context.WithCancel(context.Background())
	blocks := func() int64 { return d.(framework.Inspector).Stats().Blocks }
	before, under := blocks(), make(chan bool)
	go func() {
		defer close(under)
		defer cancel()
		for end := time.Now().Add(patience); blocks() == before && time.Now().Before(end); { // until C has the handler
			time.Sleep(time.Millisecond)
		}
	}()
	defer func() { <-under }()
	if _, err := n.Start(ctx, vmnet.Config{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := n.Start(ctx, vmnet.Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is done: %v", err)
	}
	l.control(t, "hang.start", 0)
	eventually(t, func() error {
		if s := d.(framework.Inspector).Stats(); s.Late == 0 || s.Interfaces != 0 || s.Hung != 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// TestLate has the handlers called late, but in time.
func TestLate(t *testing.T) {
	l := load(t, macOS26)
	l.control(t, "late.start", 50)
	l.control(t, "late.stop", 50)
	if err := begin(l.driver(t, framework.Config{}), shared("late")); err != nil {
		t.Error(err)
	}
}

// TestLateEvents has events come after their device was closed.
func TestLateEvents(t *testing.T) {
	l := load(t, macOS26)
	l.control(t, "events.late", 1)
	d := l.driver(t, framework.Config{})
	n := openNetwork(t, d, shared("late"))
	for range 20 {
		dev, err := n.Start(context.Background(), vmnet.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := dev.SetEventHandler(func() {}); err != nil {
			t.Fatal(err)
		}
		l.control(t, "fire", 500)
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTransfer has reads and writes fail, or move less than they could.
func TestTransfer(t *testing.T) {
	l := load(t, macOS26)
	n := openNetwork(t, l.driver(t, framework.Config{}), shared("transfer"))
	var devs [2]vmnet.Device
	for k := range devs {
		dev, err := n.Start(context.Background(), vmnet.Config{})
		if err != nil {
			t.Fatal(err)
		}
		devs[k] = dev
	}
	a, b := devs[0], devs[1]
	frame := broadcast(a.Info(), 100)
	frames := [][]byte{frame, frame, frame, frame, frame}
	bufs, sizes := buffers(b.Info(), 5)

	for _, code := range []vmnet.Code{vmnet.Failure, vmnet.BufferExhausted, vmnet.TooManyPackets, 4711} {
		l.control(t, "fail.write", int64(code))
		if sent, err := a.WriteBatch(frames); sent != 0 || !errors.Is(err, code) {
			t.Errorf("write with status %d: %d, %v", code, sent, err)
		}
		l.control(t, "fail.write", 0)
		l.control(t, "fail.read", int64(code))
		if got, err := b.ReadBatch(bufs, sizes); got != 0 || !errors.Is(err, code) {
			t.Errorf("read with status %d: %d, %v", code, got, err)
		}
		l.control(t, "fail.read", 0)
	}
	l.control(t, "short.write", 3)
	if sent, err := a.WriteBatch(frames); sent != 3 || !errors.Is(err, vmnet.BufferExhausted) {
		t.Errorf("short write: %d, %v", sent, err)
	}
	l.control(t, "short.write", 0)
	l.control(t, "short.read", 2)
	for _, want := range []int{2, 1} {
		if got := readSome(t, b, bufs, sizes); got != want || sizes[0] != 100 {
			t.Errorf("short read: %d of %d bytes, want %d of 100", got, sizes[0], want)
		}
	}
	mixed := [][]byte{frame, frame, frame[:10], frame}
	if sent, err := a.WriteBatch(mixed); sent != 2 || !errors.Is(err, vmnet.InvalidArgument) {
		t.Errorf("a short frame among others: %d, %v", sent, err)
	}
	mixed[2] = make([]byte, a.Info().MaxPacketSize+1)
	if sent, err := a.WriteBatch(mixed); sent != 2 || !errors.Is(err, vmnet.PacketTooBig) {
		t.Errorf("a long frame among others: %d, %v", sent, err)
	}
	if sent, err := a.WriteBatch(nil); sent != 0 || err != nil {
		t.Errorf("no frames: %d, %v", sent, err)
	}
}

// readSome reads when frames are there.
func readSome(t *testing.T, d vmnet.Device, bufs [][]byte, sizes []int) (n int) {
	t.Helper()
	eventually(t, func() (err error) {
		n, err = d.ReadBatch(bufs, sizes)
		return err
	})
	return n
}

// TestNoPrivilege opens networks where the process may start nothing. Open says
// so, so that another driver can be taken, and so does Start.
func TestNoPrivilege(t *testing.T) {
	for _, c := range []struct {
		name    string
		release int
		mode    vmnet.Mode
		want    string
	}{
		{"logical", macOS26, vmnet.Shared, "com.apple.security.virtualization"},
		{"bridged on 26", macOS26, vmnet.Bridged, "com.apple.security.virtualization"},
		{"classic", macOS15, vmnet.Shared, "run as root, or use the driver netstack"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := load(t, c.release)
			d := l.driver(t, framework.Config{})
			cfg := vmnet.NetworkConfig{Name: "privilege", Mode: c.mode}
			if c.mode == vmnet.Bridged {
				cfg.Uplink = "en0"
			}
			l.control(t, "privilege", 0)
			for _, root := range []bool{false, true} {
				framework.SetRoot(d, root)
				err := begin(d, cfg)
				if errors.Is(err, vmnet.ErrPermission) == root || strings.Contains(err.Error(), c.want) == root {
					t.Errorf("root %t: %v", root, err)
				}
				if !errors.Is(err, vmnet.Failure) && !errors.Is(err, vmnet.MemFailure) {
					t.Errorf("root %t: %v", root, err)
				}
			}
			framework.SetRoot(d, false)
			if _, err := d.Open(context.Background(), cfg); !errors.Is(err, vmnet.ErrPermission) {
				t.Errorf("open: %v", err)
			}
			l.control(t, "privilege", 1)
			if err := begin(d, cfg); err != nil {
				t.Errorf("with a privilege that is not root's: %v", err)
			}
		})
	}
}

// TestProvenPrivilege has a start refused after a network was opened without root: what
// is the matter is no privilege.
func TestProvenPrivilege(t *testing.T) {
	l := load(t, macOS26)
	d := l.driver(t, framework.Config{})
	framework.SetRoot(d, false)
	openNetwork(t, d, shared("first"))
	l.control(t, "fail.start", 1001)
	err := begin(d, vmnet.NetworkConfig{Name: "bridged", Mode: vmnet.Bridged, Uplink: "en0"})
	if !errors.Is(err, vmnet.Failure) || errors.Is(err, vmnet.ErrPermission) || !strings.Contains(err.Error(), "uplink cannot be bridged") {
		t.Error(err)
	}
}

// TestLimit sees that the 33rd interface is refused before the framework does.
func TestLimit(t *testing.T) {
	l := load(t, macOS26)
	d := l.driver(t, framework.Config{})
	n := openNetwork(t, d, shared("limit"))
	var first vmnet.Device
	for k := range framework.MaxInterfaces {
		dev, err := n.Start(context.Background(), vmnet.Config{})
		if err != nil {
			t.Fatalf("interface %d: %v", k+1, err)
		}
		if k == 0 {
			first = dev
		}
	}
	if _, err := n.Start(context.Background(), vmnet.Config{}); !errors.Is(err, vmnet.ErrLimit) || !strings.HasPrefix(err.Error(), "32 interfaces: ") {
		t.Errorf("interface 33: %v", err)
	}
	first.Close()
	if _, err := n.Start(context.Background(), vmnet.Config{}); err != nil {
		t.Errorf("after one was closed: %v", err)
	}
}
