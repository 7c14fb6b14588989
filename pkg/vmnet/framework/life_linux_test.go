package framework_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

// long reports whether the long versions of tests were asked for.
func long() bool { return os.Getenv("VMNET_LONG") != "" }

// TestCycles starts, listens and stops interfaces, many at once: nothing may be
// left in C or in Go (driver checks), and no thread.
func TestCycles(t *testing.T) {
	for _, c := range []struct {
		name    string
		release int
	}{{"logical", macOS26}, {"classic", macOS15}} {
		t.Run(c.name, func(t *testing.T) {
			l := load(t, c.release)
			d := l.driver(t, framework.Config{})
			n := openNetwork(t, d, shared("cycles"))
			const workers, cycles = 20, 2000
			var left atomic.Int64
			left.Store(cycles)
			var all sync.WaitGroup
			for range workers {
				all.Go(func() {
					for left.Add(-1) >= 0 {
						if err := cycle(n); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			eventually(t, func() error {
				if n := l.count(t, "live.threads"); n != 0 {
					return fmt.Errorf("%d threads of queues", n)
				}
				return nil
			})
		})
	}
}

// cycle starts a device, sets and takes away its handler, and closes it.
func cycle(n vmnet.Network) error {
	dev, err := n.Start(context.Background(), vmnet.Config{})
	if err != nil {
		return err
	}
	defer dev.Close()
	bufs, sizes := buffers(dev.Info(), 8)
	pump := func() {
		for {
			if _, err := dev.ReadBatch(bufs, sizes); err != nil {
				return
			}
		}
	}
	if err := dev.SetEventHandler(pump); err != nil {
		return fmt.Errorf("set handler: %w", err)
	}
	if _, err := dev.WriteBatch([][]byte{broadcast(dev.Info(), 60)}); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := dev.SetEventHandler(nil); err != nil {
		return fmt.Errorf("take handler away: %w", err)
	}
	if err := dev.SetEventHandler(pump); err != nil {
		return fmt.Errorf("set handler again: %w", err)
	}
	return dev.Close()
}

// buffers returns n buffers of the size that a device reads into.
func buffers(i vmnet.Info, n int) ([][]byte, []int) {
	bufs := make([][]byte, n)
	for k := range bufs {
		bufs[k] = make([]byte, i.MaxPacketSize)
	}
	return bufs, make([]int, n)
}

// broadcast returns a frame of an ethertype kept for local experiments.
func broadcast(i vmnet.Info, size int) []byte {
	f := make([]byte, size)
	copy(f, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	copy(f[6:], i.MAC)
	f[12], f[13] = 0x88, 0xb5
	return f
}

// TestEventsUnderGC has events delivered while the garbage collector runs as often
// as it can: a block or a descriptor that only C knows would be gone.
func TestEventsUnderGC(t *testing.T) {
	events := int64(100_000)
	if long() {
		events = 1_000_000
	}
	l := load(t, macOS26)
	dev := start(t, l.driver(t, framework.Config{}), shared("gc"))
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	}()
	defer func() { close(stop); <-done }()

	var calls atomic.Int64
	bufs, sizes := buffers(dev.Info(), 4)
	if err := dev.SetEventHandler(func() {
		calls.Add(1)
		for {
			if _, err := dev.ReadBatch(bufs, sizes); err != nil {
				return
			}
			for _, b := range bufs { // as fresh as a caller's may be
				clear(b[:64])
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	for calls.Load() < events {
		before := calls.Load()
		l.control(t, "fire", 1000)
		eventually(t, func() error {
			if n := calls.Load() - before; n < 1000 {
				return fmt.Errorf("%d of 1000 events", n)
			}
			return nil
		})
		if t.Failed() {
			return
		}
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}

// TestCloseUnderFlood closes a device whose frames never end, while its handler
// reads them: first the handler is taken away, then the device is closed.
func TestCloseUnderFlood(t *testing.T) {
	for _, size := range []int64{60, 1514, 65550} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			l := load(t, macOS26)
			cfg := shared("flood")
			cfg.Offload = size > 1514
			l.control(t, "source.size", size)
			l.control(t, "traffic", 2)
			dev := start(t, l.driver(t, framework.Config{StopTimeout: time.Hour}), cfg)
			bufs, sizes := buffers(dev.Info(), dev.Info().ReadBatch)
			var frames atomic.Int64
			pump := func() {
				for {
					n, err := dev.ReadBatch(bufs, sizes)
					if err != nil {
						return
					}
					frames.Add(int64(n))
				}
			}
			for name, end := range map[string]func() error{
				"take handler away": func() error { return dev.SetEventHandler(nil) },
				"replace handler":   func() error { return dev.SetEventHandler(func() {}) },
			} {
				flood(t, dev, pump, &frames)
				ends(t, name, end)
			}
			flood(t, dev, pump, &frames)
			ends(t, "close", dev.Close)
		})
	}
}

// flood sets the handler and waits until it reads.
func flood(t *testing.T, dev vmnet.Device, pump func(), frames *atomic.Int64) {
	t.Helper()
	before := frames.Load()
	if err := dev.SetEventHandler(pump); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if n := frames.Load() - before; n < 1000 {
			return fmt.Errorf("%d frames", n)
		}
		return nil
	})
}

// ends fails the test unless fn returns, without an error.
func ends(t *testing.T, what string, fn func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(patience):
		t.Fatalf("%s takes more than %s", what, patience)
	}
}

// TestStuckHandler closes a device whose handler does not return: the interface is
// stopped all the same, and what the handler reads later is ErrClosed.
func TestStuckHandler(t *testing.T) {
	l := load(t, macOS26)
	var err error
	impatient(func(limit time.Duration) bool {
		d := l.driver(t, framework.Config{StopTimeout: limit})
		n, openErr := d.Open(context.Background(), shared("stuck"))
		if openErr != nil {
			t.Fatal(openErr)
		}
		err = stuck(t, d, n)
		_ = n.Close() // may tell again what stuck has told
		settled(t, d)
		return err == nil
	})
	if err != nil {
		t.Error(err)
	}
}

// stuck closes a device of n whose handler does not return before that.
func stuck(t *testing.T, d vmnet.Driver, n vmnet.Network) error {
	dev, err := n.Start(context.Background(), vmnet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	entered, gate := make(chan bool, 1), make(chan bool)
	result := make(chan error, 1)
	if err := dev.SetEventHandler(func() {
		entered <- true
		<-gate
		bufs, sizes := buffers(dev.Info(), 1)
		_, err := dev.ReadBatch(bufs, sizes)
		result <- err
	}); err != nil {
		return err
	}
	<-entered
	err = dev.Close()
	if n := d.(framework.Inspector).Stats().Interfaces; n != 0 && err == nil {
		t.Errorf("%d interfaces", n)
	}
	close(gate)
	if err := <-result; err != vmnet.ErrClosed { //nolint:errorlint // bare on the data path
		t.Errorf("read: %v", err)
	}
	return err
}

// TestPanic sees that a handler that panics harms nobody.
func TestPanic(t *testing.T) {
	l := load(t, macOS26)
	d := l.driver(t, framework.Config{})
	dev := start(t, d, shared("panic"))
	before := d.(framework.Inspector).Stats().Panics
	for range 2 {
		if err := dev.SetEventHandler(func() { panic("of a test") }); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		if n := d.(framework.Inspector).Stats().Panics - before; n < 1 {
			return fmt.Errorf("%d panics", n)
		}
		return nil
	})
	ends(t, "close", dev.Close)
}
