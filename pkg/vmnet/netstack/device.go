package netstack

import (
	"sync"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A device is one guest's interface: a port of the switch.
type device struct {
	net      *Network
	info     vmnet.Info
	port     *port
	forwards *forwards

	readMu sync.Mutex // guards popped, and readClosed
	popped [maxBatch]*frame
	gone   bool // guarded by readMu

	writeMu sync.Mutex // serialises the way into the switch
	ended   bool       // guarded by writeMu

	limited   bool // counted as such by the gateway
	closeOnce sync.Once
}

var (
	_ vmnet.Device      = (*device)(nil)
	_ vmnet.Cooperative = (*device)(nil)
)

// Info implements vmnet.Device.
func (d *device) Info() vmnet.Info { return d.info }

// ReadBatch implements vmnet.Device.
func (d *device) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	d.readMu.Lock()
	defer d.readMu.Unlock()
	if d.gone {
		return 0, vmnet.ErrClosed
	}
	limit := min(len(bufs), len(sizes), d.info.ReadBatch)
	for _, b := range bufs[:limit] {
		if len(b) < d.info.MaxPacketSize {
			return 0, vmnet.InvalidArgument
		}
	}
	n := d.port.queue.pop(d.popped[:limit])
	if n == 0 {
		return 0, vmnet.ErrNoPackets
	}
	for i, f := range d.popped[:n] {
		sizes[i] = copy(bufs[i], f.bytes())
		d.net.fabric.pool.put(f)
	}
	clear(d.popped[:n])
	return n, nil
}

// WriteBatch implements vmnet.Device. The switch always takes a frame; what the
// receiver has no room for is the receiver's loss.
func (d *device) WriteBatch(frames [][]byte) (int, error) {
	d.writeMu.Lock()
	defer d.writeMu.Unlock()
	if d.ended {
		return 0, vmnet.ErrClosed
	}
	frames = frames[:min(len(frames), d.info.WriteBatch)]
	var err error
	for i, f := range frames {
		if err = checkFrame(f, d.info.MaxPacketSize); err != nil {
			frames = frames[:i]
			break
		}
	}
	if len(frames) > 0 {
		d.net.fabric.input(d.port, frames)
	}
	return len(frames), err
}

// Queued implements vmnet.Queuer.
func (d *device) Queued() int { return int(d.port.queue.depth.Load()) }

// Cooperative implements vmnet.Cooperative: the stack's goroutines do TCP.
func (d *device) Cooperative() {}

// SetEventHandler implements vmnet.Device.
func (d *device) SetEventHandler(fn func()) error {
	waiting := func() bool { return !d.port.queue.empty() }
	if !d.port.events.set(fn, waiting) {
		return vmnet.ErrClosed
	}
	return nil
}

// Close implements vmnet.Device. The guest's flows and forwards end with it.
func (d *device) Close() error {
	d.closeOnce.Do(func() {
		d.writeMu.Lock()
		d.ended = true
		d.writeMu.Unlock()
		d.readMu.Lock()
		d.gone = true
		d.readMu.Unlock()
		d.forwards.close()
		d.net.removeDevice(d)
		d.port.queue.close(&d.net.fabric.pool)
		d.port.events.close()
	})
	return nil
}
