//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"errors"
	"unsafe"

	"github.com/ebitengine/purego"
)

// newQueue creates a serial dispatch queue; the caller releases it.
func (a *api) newQueue(label string) (uintptr, error) {
	q, _, _ := purego.SyscallN(a.queueCreate, uintptr(unsafe.Pointer(cString(label))), 0)
	if q == 0 {
		return 0, errors.New("dispatch_queue_create: no queue")
	}
	return q, nil
}

// releaseQueue gives q back; dispatch_release(NULL) would end the process.
func (a *api) releaseQueue(q uintptr) {
	if q != 0 {
		purego.SyscallN(a.dispatchRelease, q)
	}
}

// async has work, a C function, called with context on q.
func (a *api) async(q, context, work uintptr) { purego.SyscallN(a.asyncF, q, context, work) }

// drain waits for everything that is on the serial queue q. On q itself it would
// wait for ever.
func (a *api) drain(q uintptr) { purego.SyscallN(a.syncF, q, 0, bridge.nop) }

// release gives a CoreFoundation object back.
func (a *api) release(object uintptr) {
	if object != 0 {
		purego.SyscallN(a.cfRelease, object)
	}
}
