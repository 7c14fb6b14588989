//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"context"
	"errors"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// packetsAvailable is VMNET_INTERFACE_PACKETS_AVAILABLE.
const packetsAvailable = 1

// SetEventHandler implements vmnet.Device. fn runs on a thread of libdispatch, on
// the device's own serial queue. Whether the framework signals an edge or a level
// is not documented: fn reads until ErrNoPackets, never trusts a count, and may be
// called for nothing.
func (d *device) SetEventHandler(fn func()) error {
	d.setMu.Lock()
	defer d.setMu.Unlock()
	if d.closed.Load() {
		return vmnet.ErrClosed
	}
	d.swap(fn)
	drv := d.net.drv
	failed, err := do(context.Background(), &drv.guard, callEvents, drv.cfg.StopTimeout, func() error { return d.listen(fn != nil) }, nil)
	err = errors.Join(err, failed)
	if err != nil && fn != nil {
		d.swap(nil)
	}
	return err
}

// swap makes fn the handler, after a running call of the old one. That one finds
// no more frames, so that it ends even when they never stop coming.
func (d *device) swap(fn func()) {
	d.pausing.Store(true)
	defer d.pausing.Store(false)
	d.runMu.Lock()
	defer d.runMu.Unlock()
	d.fn = fn
}

// fire calls the handler. The queue is serial; the lock says so to Go.
func (d *device) fire() {
	d.runMu.Lock()
	defer d.runMu.Unlock()
	if d.fn != nil && !d.closed.Load() {
		d.fn()
	}
}

// listen gives the framework the event callback, unless it has it, or takes it
// away and waits for the events on the queue.
func (d *device) listen(on bool) error {
	a := d.net.drv.api
	d.ctlMu.Lock()
	defer d.ctlMu.Unlock()
	if d.closed.Load() {
		return vmnet.ErrClosed
	}
	if !on {
		if !d.listening {
			return nil
		}
		r, _, _ := purego.SyscallN(a.setEventCallback, d.ifc, 0, 0, 0)
		d.listening = false
		a.drain(d.queue)
		return check(callEvents, vmnet.Code(r))
	}
	if !d.listening {
		block := a.block(bridge.event, d.handle)
		r, _, _ := purego.SyscallN(a.setEventCallback, d.ifc, packetsAvailable, d.queue, uintptr(unsafe.Pointer(block)))
		if err := check(callEvents, vmnet.Code(r)); err != nil {
			return err
		}
		d.listening = true
	}
	// Frames that are waiting already may never bring an event.
	a.async(d.queue, d.handle, bridge.kick)
	return nil
}

// drain waits until every event that is on the queue has been handled. When it gives
// up, the queue is no longer the device's: the wait goes on, with the reference that
// it has borrowed (dispatch_sync_f takes none of its own), and releases it.
func (d *device) drain(limit time.Duration) error {
	a, queue := d.net.drv.api, d.queue
	_, err := run(context.Background(), &d.net.drv.guard, "dispatch_sync_f", limit, func() struct{} {
		a.drain(queue)
		return struct{}{}
	}, func(struct{}) { a.releaseQueue(queue) })
	if err != nil {
		d.queue = 0
	}
	return err
}
