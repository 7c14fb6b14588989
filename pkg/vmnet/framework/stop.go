//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"context"
	"errors"
	"sync/atomic"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Close implements vmnet.Device. It takes at most StopTimeout; what hangs then is
// named by the error, goes on by itself, and stays counted until it has ended.
func (d *device) Close() error {
	d.closeOnce.Do(func() {
		d.closed.Store(true) // a handler that reads for ever reads ErrClosed now
		d.closeErr = d.shut()
		d.net.forget(d)
	})
	return d.closeErr
}

func (d *device) shut() error {
	drv := d.net.drv
	var stage atomic.Pointer[string]
	at := func(s string) { stage.Store(&s) }
	at(callStop)
	ended, err := run(context.Background(), &drv.guard, callStop, drv.cfg.StopTimeout, func() error { return d.end(at) }, func(err error) {
		if err != nil {
			drv.cfg.Log("network %s: stop: %v", d.net.cfg.Name, err)
		}
	})
	var hung *HungError
	if errors.As(err, &hung) {
		hung.Call = *stage.Load()
	}
	return errors.Join(err, ended)
}

// end stops the interface, in the order that was proven free of late callbacks:
// take the callback away, wait for the queue, stop, wait for the handler, forget
// the device. at is told what is being waited for.
func (d *device) end(at func(string)) error {
	defer d.giveBack()
	at("SetEventHandler, or a call that changes rules")
	d.ctlMu.Lock() // from here on nobody else begins anything: closed is set
	if d.listening {
		at(callEvents)
		d.listening = false
		purego.SyscallN(d.net.drv.api.setEventCallback, d.ifc, 0, 0, 0) // whatever it says: events find nobody
	}
	d.ctlMu.Unlock()
	at("dispatch_sync_f")
	queue, own, limit := d.queue, uintptr(0), d.net.drv.cfg.StopTimeout/2
	if err := d.drain(limit); err != nil {
		// The handler does not return. Its queue would keep the stop from being
		// told, so that goes to another one.
		d.net.drv.cfg.Log("network %s: event handler still runs %s after close began", d.net.cfg.Name, limit)
		if own, err = d.net.drv.api.newQueue("vmnet.stop"); err != nil {
			return err
		}
		queue = own
	}
	defer d.net.drv.api.releaseQueue(own)
	return d.stop(queue, at)
}

// giveBack frees what a device holds.
func (d *device) giveBack() {
	dropHandle(d.handle)
	d.pins.Unpin()
	d.net.drv.api.releaseQueue(d.queue)
	d.net.drv.yield()
}

// stop stops the interface after reads and writes under way, and waits for the
// handler.
func (d *device) stop(queue uintptr, at func(string)) error {
	answer := make(statusChan, 1)
	h := newHandle(answer)
	defer dropHandle(h)
	at("vmnet_read or vmnet_write")
	d.readMu.Lock()
	d.writeMu.Lock()
	d.rx.drop()
	d.tx.drop()
	at(callStop)
	r, _, _ := purego.SyscallN(d.net.drv.api.stopInterface, d.ifc, queue, uintptr(unsafe.Pointer(d.net.drv.api.block(bridge.done, h))))
	d.writeMu.Unlock()
	d.readMu.Unlock()
	if err := check(callStop, vmnet.Code(r)); err != nil {
		return err // no handler will be called
	}
	at(callStop + ": handler")
	return check(callStop+": handler", vmnet.Code(<-answer))
}
