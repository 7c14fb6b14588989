package vmnettest

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Batch is the longest batch, in frames, that the devices of this package take.
const Batch = 64

// A Device is an interface in memory.
type Device struct {
	info   vmnet.Info
	rx     *queue
	events *notifier
	closed atomic.Bool
	// send passes frames on and returns how many it took.
	send func(frames [][]byte) int
	// left is called by the first Close.
	left func()
}

var _ vmnet.Device = (*Device)(nil)

// newDevice returns a device that is joined to nothing; the caller sets send.
func newDevice(cfg vmnet.Config, mtu, frames int) *Device {
	if cfg.UUID == (uuid.UUID{}) {
		cfg.UUID = uuid.New()
	}
	if cfg.MAC == nil {
		cfg.MAC = vmnet.MACFromUUID(cfg.UUID)
	}
	size := mtu + vmnet.HeaderLen
	return &Device{
		info: vmnet.Info{
			UUID: cfg.UUID, MAC: slices.Clone(cfg.MAC), MTU: mtu, MaxPacketSize: size,
			ReadBatch: Batch, WriteBatch: Batch,
		},
		rx:     newQueue(frames, size),
		events: newNotifier(),
	}
}

// Info implements vmnet.Device.
func (d *Device) Info() vmnet.Info { return d.info }

// ReadBatch implements vmnet.Device.
func (d *Device) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	return d.rx.pop(bufs[:min(len(bufs), Batch)], sizes)
}

// WriteBatch implements vmnet.Device.
func (d *Device) WriteBatch(frames [][]byte) (int, error) {
	if d.closed.Load() {
		return 0, vmnet.ErrClosed
	}
	frames = frames[:min(len(frames), Batch)]
	good, bad := d.check(frames)
	if n := d.send(frames[:good]); n < good {
		return n, vmnet.BufferExhausted
	}
	return good, bad
}

// check returns how many frames may be sent, and why the next one may not.
func (d *Device) check(frames [][]byte) (int, error) {
	for n, f := range frames {
		switch {
		case len(f) > d.info.MaxPacketSize:
			return n, fmt.Errorf("frame of %d bytes, at most %d: %w", len(f), d.info.MaxPacketSize, vmnet.PacketTooBig)
		case len(f) < vmnet.HeaderLen:
			return n, fmt.Errorf("frame of %d bytes, at least %d: %w", len(f), vmnet.HeaderLen, vmnet.InvalidArgument)
		}
	}
	return len(frames), nil
}

// receive queues frames for ReadBatch and returns how many there was room for.
func (d *Device) receive(frames [][]byte) int {
	n := d.rx.push(frames)
	if n > 0 {
		d.events.notify()
	}
	return n
}

// SetEventHandler implements vmnet.Device.
func (d *Device) SetEventHandler(fn func()) error {
	if !d.events.set(fn) {
		return vmnet.ErrClosed
	}
	if d.rx.waiting() {
		d.events.notify()
	}
	return nil
}

// Close implements vmnet.Device.
func (d *Device) Close() error {
	first := d.closed.CompareAndSwap(false, true)
	d.rx.close()
	d.events.shut()
	if first && d.left != nil {
		d.left()
	}
	return nil
}
