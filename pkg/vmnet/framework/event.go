//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	d.ctlMu.Lock()
	defer d.ctlMu.Unlock()
	if d.closed.Load() {
		return vmnet.ErrClosed
	}
	d.swap(fn)
	if d.closed.Load() { // while the old handler was waited for
		return vmnet.ErrClosed
	}
	if fn == nil {
		if !d.listening {
			return nil
		}
		d.listening = false
		return errors.Join(d.listen(0), d.drain())
	}
	if !d.listening {
		if err := d.listen(d.handle); err != nil {
			d.swap(nil)
			return err
		}
		d.listening = true
	}
	// Frames that are waiting already may never bring an event.
	d.net.drv.api.async(d.queue, d.handle, bridge.kick)
	return nil
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

// listen gives the framework a callback that finds the device by handle, or takes
// it away when handle is 0.
func (d *device) listen(handle uintptr) error {
	drv := d.net.drv
	code, err := do(context.Background(), &drv.guard, callEvents, drv.cfg.StopTimeout, func() vmnet.Code {
		var r uintptr
		if handle == 0 {
			r, _, _ = purego.SyscallN(drv.api.setEventCallback, d.ifc, 0, 0, 0)
		} else {
			block := drv.api.block(bridge.event, handle)
			r, _, _ = purego.SyscallN(drv.api.setEventCallback, d.ifc, packetsAvailable, d.queue, uintptr(unsafe.Pointer(block)))
		}
		return vmnet.Code(r)
	}, nil)
	if err != nil {
		return err
	}
	return check(callEvents, code)
}

// drain waits until every event that is on the queue has been handled.
func (d *device) drain() error {
	drv := d.net.drv
	_, err := do(context.Background(), &drv.guard, "dispatch_sync_f", drv.cfg.StopTimeout, func() struct{} {
		drv.api.drain(d.queue)
		return struct{}{}
	}, nil)
	return err
}

// Close implements vmnet.Device. The order is the one that was proven free of
// late callbacks: take the callback away, wait for the queue, stop, wait for the
// handler, forget the device. It takes at most four times StopTimeout.
func (d *device) Close() error {
	d.closeOnce.Do(func() {
		d.closed.Store(true) // a handler that reads for ever reads ErrClosed now
		d.closeErr = d.shut()
		d.net.forget(d)
	})
	return d.closeErr
}

// shut ends the device. An interface whose stop hangs stays counted, with its
// queue: it is still there.
func (d *device) shut() error {
	err := d.end()
	dropHandle(d.handle)
	d.pins.Unpin()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	d.net.drv.api.releaseQueue(d.queue)
	d.net.drv.yield()
	return err
}

func (d *device) end() error {
	if err := d.locked("the event handler", d.quiet); err != nil {
		return err
	}
	err := d.drain()
	if err == nil {
		return d.stop(d.queue)
	}
	// The handler does not return. Its queue would keep the stop from being told,
	// so that goes to another one.
	d.net.drv.cfg.Log("network %s: event handler still runs at close: %v", d.net.cfg.Name, err)
	q, err := d.net.drv.api.newQueue("vmnet.stop")
	if err != nil {
		return err
	}
	defer d.net.drv.api.releaseQueue(q)
	return d.stop(q)
}

// quiet takes the event callback away; it holds ctlMu.
func (d *device) quiet() error {
	if !d.listening {
		return nil
	}
	d.listening = false
	var hung *HungError
	if err := d.listen(0); errors.As(err, &hung) {
		return err
	}
	return nil // the interface is about to go, and its events find nobody
}

// stop stops the interface after calls under way, and waits for the handler.
func (d *device) stop(queue uintptr) error {
	drv := d.net.drv
	answer := make(chan uint32, 1)
	h := newHandle(answer)
	defer dropHandle(h)
	var code vmnet.Code
	err := d.locked("vmnet_read or vmnet_write", func() error {
		d.readMu.Lock()
		defer d.readMu.Unlock()
		d.writeMu.Lock()
		defer d.writeMu.Unlock()
		d.rx.drop()
		d.tx.drop()
		var err error
		code, err = do(context.Background(), &drv.guard, callStop, drv.cfg.StopTimeout, func() vmnet.Code {
			r, _, _ := purego.SyscallN(drv.api.stopInterface, d.ifc, queue, uintptr(unsafe.Pointer(drv.api.block(bridge.done, h))))
			return vmnet.Code(r)
		}, nil)
		return err
	})
	if err != nil {
		return err
	}
	if err := check(callStop, code); err != nil {
		return err
	}
	timer := time.NewTimer(drv.cfg.StopTimeout)
	defer timer.Stop()
	select {
	case status := <-answer:
		return check(callStop+": handler", vmnet.Code(status))
	case <-timer.C:
		return &HungError{Call: callStop + ": handler", After: drv.cfg.StopTimeout}
	}
}

// locked runs fn with ctlMu held, unless what holds the locks does not end.
func (d *device) locked(holder string, fn func() error) error {
	limit := d.net.drv.cfg.StopTimeout
	done := make(chan error, 1)
	go func() {
		d.ctlMu.Lock()
		defer d.ctlMu.Unlock()
		done <- fn()
	}()
	timer := time.NewTimer(2 * limit) // fn has a limit of its own
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("%s: not ended within %s: %w", holder, 2*limit, os.ErrDeadlineExceeded)
	}
}
