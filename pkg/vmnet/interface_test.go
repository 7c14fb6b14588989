package vmnet_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/vmnettest"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

// The contract of Interface is in package vmnettest; here is what its suite
// cannot see from outside.

// fakeDevice fails as it is told.
type fakeDevice struct {
	vmnet.Device
	setErr, closeErr, readErr error
	closed                    int
}

func (f *fakeDevice) SetEventHandler(fn func()) error {
	if f.setErr != nil {
		return f.setErr
	}
	return f.Device.SetEventHandler(fn)
}

func (f *fakeDevice) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	if f.readErr != nil {
		return 0, f.readErr
	}
	return f.Device.ReadBatch(bufs, sizes)
}

func (f *fakeDevice) Close() error {
	f.closed++
	return errors.Join(f.closeErr, f.Device.Close())
}

func newFake(t *testing.T) (*fakeDevice, vmnet.Device, *vmnet.Interface) {
	a, b := vmnettest.Pair()
	f := &fakeDevice{Device: a}
	i := vmnet.NewInterface("net1", f)
	t.Cleanup(func() { i.Close(); b.Close() })
	return f, b, i
}

// TestWrap checks that every error names operation and network once, and keeps
// its cause.
func TestWrap(t *testing.T) {
	boom := errors.New("boom")
	f, _, i := newFake(t)
	f.setErr, f.readErr, f.closeErr = boom, boom, boom
	buf := make([]byte, i.MaxPacketSize())
	_, readErr := i.Read(buf)
	for want, err := range map[string]error{
		"vmnet: read net1: boom":              readErr,
		"vmnet: set event handler net1: boom": i.SetEventHandler(func() {}),
		"vmnet: wait net1: boom":              i.WaitForEvent(context.Background()),
		"vmnet: close net1: boom":             i.Close(),
	} {
		if err == nil || err.Error() != want || !errors.Is(err, boom) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := i.Close(); !errors.Is(err, boom) || f.closed != 1 {
		t.Errorf("close again: %v after %d closes of the device, want the same error and 1", err, f.closed)
	}
}

// TestWaitAfterFailure checks that a device that could not set its handler is
// asked again.
func TestWaitAfterFailure(t *testing.T) {
	f, other, i := newFake(t)
	f.setErr = errors.New("boom")
	if err := i.WaitForEvent(t.Context()); err == nil {
		t.Fatal("no error")
	}
	if err := i.SetEventHandler(func() {}); err == nil {
		t.Fatal("no error")
	}
	f.setErr = nil
	if _, err := other.WriteBatch([][]byte{make([]byte, 60)}); err != nil {
		t.Fatal(err)
	}
	if err := i.WaitForEvent(t.Context()); err != nil {
		t.Errorf("wait: %v", err)
	}
}

// TestClosedWins checks that a wait on a closed interface tells so, every time,
// although an event is there too.
func TestClosedWins(t *testing.T) {
	for range 100 {
		_, other, i := newFake(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = i.WaitForEvent(ctx) // events are listened for
		if _, err := other.WriteBatch([][]byte{make([]byte, 60)}); err != nil {
			t.Fatal(err)
		}
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
		if err := i.WaitForEvent(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("wait: %v", err)
		}
	}
}

// TestHandlerWaits checks that a handler that wrongly waits is told so, and does
// not lock up, also while it is being ended.
func TestHandlerWaits(t *testing.T) {
	_, other, i := newFake(t)
	entered, ending := make(chan bool), make(chan bool)
	var inside error
	var once sync.Once
	err := i.SetEventHandler(func() {
		once.Do(func() {
			entered <- true
			<-ending
			time.Sleep(time.Millisecond) // by now SetEventHandler(nil) most likely waits
			inside = i.WaitForEvent(t.Context())
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.WriteBatch([][]byte{make([]byte, 60)}); err != nil {
		t.Fatal(err)
	}
	<-entered
	close(ending)
	if err := i.SetEventHandler(nil); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(inside, vmnet.ErrHandlerSet) {
		t.Errorf("wait in a handler: %v", inside)
	}
}

// TestHandlerAndWaitRace sets, ends and waits from several goroutines. However
// that ends, events must go somewhere after it.
func TestHandlerAndWaitRace(t *testing.T) {
	_, other, i := newFake(t)
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() { _ = i.WaitForEvent(ctx) })
			all.Go(func() {
				_ = i.SetEventHandler(func() {})
				_ = i.SetEventHandler(nil)
			})
		}
		cancel()
		all.Wait()
		if _, err := other.WriteBatch([][]byte{make([]byte, 60)}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
		if _, err := i.ReadContext(ctx, make([]byte, i.MaxPacketSize())); err != nil {
			t.Fatalf("the event was lost: %v", err)
		}
		cancel()
	}
}

// failingDriver opens networks that start nothing.
type failingDriver struct {
	vmnettest.Hub
	closeErr error
}

type failingNetwork struct {
	vmnet.Network
	closeErr error
}

func (d *failingDriver) Open(ctx context.Context, cfg vmnet.NetworkConfig) (vmnet.Network, error) {
	n, err := d.Hub.Open(ctx, cfg)
	return &failingNetwork{n, d.closeErr}, err
}

func (n *failingNetwork) Start(context.Context, vmnet.Config) (vmnet.Device, error) {
	return nil, vmnet.ErrPermission
}

func (n *failingNetwork) Close() error { return errors.Join(n.closeErr, n.Network.Close()) }

func TestStartFails(t *testing.T) {
	boom := errors.New("boom")
	d := &failingDriver{closeErr: boom}
	_, err := vmnet.Start(t.Context(), d, vmnet.NetworkConfig{Name: "x"}, vmnet.Config{})
	if !errors.Is(err, vmnet.ErrPermission) || !errors.Is(err, boom) {
		t.Errorf("%v, want both causes", err)
	}
	var oe *vmnet.OpError
	if !errors.As(err, &oe) || oe.Op != "start" || oe.Net != "x" {
		t.Errorf("%v, want an OpError for start of x", err)
	}
}

func TestString(t *testing.T) {
	_, _, i := newFake(t)
	info := i.Info()
	for _, want := range []string{"network=net1", info.UUID.String(), info.MAC.String(), "mtu=1500", "max=1514"} {
		if !strings.Contains(i.String(), want) {
			t.Errorf("%s does not tell %s", i, want)
		}
	}
}

// Example_ocaml is the loop that programs written for the OCaml library have.
func Example_ocaml() {
	ctx := context.Background()
	i, err := vmnet.Start(ctx, &vmnettest.Hub{}, vmnet.NetworkConfig{Mode: vmnet.Shared}, vmnet.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer i.Close()
	buf := make([]byte, i.MaxPacketSize())
	n, err := i.Read(buf)
	if errors.Is(err, vmnet.ErrNoPackets) {
		fmt.Println("nothing yet, so wait")
		ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		n, err = i.ReadContext(ctx, buf)
	}
	fmt.Println(n, errors.Is(err, context.DeadlineExceeded))
	fmt.Println(i.MTU(), i.MaxPacketSize())
	// Output:
	// nothing yet, so wait
	// 0 true
	// 1500 1514
}
