//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"runtime/debug"
	"structs"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/ebitengine/purego"
)

// A blockLiteral is a block as clang lays it out, with one captured word (Block
// ABI, struct Block_literal_1; libclosure-96 of macOS 26).
type blockLiteral struct {
	_        structs.HostLayout
	isa      uintptr // the address of _NSConcreteStackBlock: C must copy it to keep it
	flags    int32
	reserved int32
	invoke   uintptr
	desc     *blockDescriptor
	handle   uintptr // captured: an integer, never a Go pointer
}

// A blockDescriptor describes a kind of block. C's copies point at it for as long
// as they live, so every descriptor is a package-level variable.
type blockDescriptor struct {
	_             structs.HostLayout
	reserved      uintptr // 0: libclosure-96 reads other values as flags
	size          uintptr // of the literal with what it captured
	copy, dispose uintptr // there because of blockHasCopyDispose
}

const blockHasCopyDispose = 1 << 25

// bridge is what C calls into: process-wide, because a callback can never be
// freed (purego has 2,000 for the whole process) and because C may call at any
// time, whatever Go still knows. Every driver of the process shares it.
var bridge struct {
	once sync.Once
	// One callback for each kind of block, and one for each kind of function
	// that libdispatch is given.
	start, event, done, rules, nop, kick uintptr

	desc    blockDescriptor
	handles sync.Map // uintptr -> whom a block is for
	next    atomic.Uintptr
	count   atomic.Int64 // of handles
	live    atomic.Int64 // copies that C has not disposed of
	panics  atomic.Int64
}

// initBridge makes the callbacks, once.
func initBridge() {
	bridge.once.Do(func() {
		bridge.start = purego.NewCallback(onStart)
		bridge.event = purego.NewCallback(onEvent)
		bridge.done = purego.NewCallback(onDone)
		bridge.rules = purego.NewCallback(onRules)
		bridge.nop = purego.NewCallback(func(uintptr) {})
		bridge.kick = purego.NewCallback(onKick)
		bridge.desc = blockDescriptor{
			size:    unsafe.Sizeof(blockLiteral{}),
			copy:    purego.NewCallback(func(_, _ uintptr) { bridge.live.Add(1) }),
			dispose: purego.NewCallback(func(uintptr) { bridge.live.Add(-1) }),
		}
	})
}

// newHandle returns an integer by which callbacks find target until dropHandle.
func newHandle(target any) uintptr {
	h := bridge.next.Add(1)
	bridge.count.Add(1)
	bridge.handles.Store(h, target)
	return h
}

// dropHandle makes later calls for h find nothing.
func dropHandle(h uintptr) {
	if _, ok := bridge.handles.LoadAndDelete(h); ok {
		bridge.count.Add(-1)
	}
}

// takeHandle is dropHandle for a block that is called once: only the first of the
// caller and the block gets the target.
func takeHandle(h uintptr) (any, bool) {
	v, ok := bridge.handles.LoadAndDelete(h)
	if ok {
		bridge.count.Add(-1)
	}
	return v, ok
}

// block returns a literal for h. It need not outlive the call it is passed to.
func (a *api) block(invoke, h uintptr) *blockLiteral {
	return &blockLiteral{isa: a.stackBlock, flags: blockHasCopyDispose, invoke: invoke, desc: &bridge.desc, handle: h}
}

// captured returns the handle in the block at addr. The copy is C's.
func captured(addr uintptr) uintptr { return (*blockLiteral)(cptr(addr)).handle }

// onStart is the block of vmnet_start_interface; param is NULL or borrowed.
func onStart(block uintptr, status uint32, param uintptr) {
	defer contain(nil)
	if v, ok := takeHandle(captured(block)); ok {
		v.(*startCall).answered(status, param)
	}
}

// onEvent is the block of vmnet_interface_set_event_callback. The event's own
// dictionary holds an estimate that nothing relies on. It may come after the
// device was closed; then there is nobody to tell.
func onEvent(block uintptr, _ uint32, _ uintptr) { pump(captured(block)) }

// onKick has a device's handler called without an event.
func onKick(handle uintptr) { pump(handle) }

func pump(handle uintptr) {
	v, ok := bridge.handles.Load(handle)
	if !ok {
		return
	}
	d := v.(*device)
	defer contain(d.net.drv.cfg.Log)
	d.fire()
}

// A statusChan is what a completion block is for; it has room for one status.
type statusChan chan uint32

// onDone is the block of a call that answers with a status.
func onDone(block uintptr, status uint32) {
	defer contain(nil)
	if v, ok := takeHandle(captured(block)); ok {
		v.(statusChan) <- status
	}
}

// onRules is the block that is given the port forwarding rules, borrowed.
func onRules(block uintptr, rules uintptr) {
	defer contain(nil)
	if v, ok := takeHandle(captured(block)); ok {
		v.(*rulesCall).answered(rules)
	}
}

// contain ends a panic: one that reached C would end the process and take every
// guest's network with it.
func contain(log func(string, ...any)) {
	if r := recover(); r != nil {
		bridge.panics.Add(1)
		if log != nil {
			log("panic in a handler: %v\n%s", r, debug.Stack())
		}
	}
}
