//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// nullGrace is how long the handler of a start that returned no interface is
// waited for. Whether it is called then is contested; it brings the status, without
// which a missing privilege cannot be told from anything else.
const nullGrace = 5 * time.Second

// A startCall is a start under way. The framework answers in two halves, in any
// order: the function returns the interface, the handler brings the status and
// the parameters. When the caller has gone before both, what was started is
// stopped as soon as it is known.
type startCall struct {
	net    *network
	call   string
	desc   *dict // released after the call
	queue  uintptr
	handle uintptr       // of the block
	ready  chan struct{} // closed when the handler was called

	mu       sync.Mutex // guards all following fields
	ifc      uintptr
	returned bool
	status   vmnet.Code
	params   params
	heard    bool
	gone     bool // the caller has given up
	pending  bool // counted as hung
	over     bool // cleaned up
}

// start starts an interface and checks what it was given. When it fails it gives
// back what acquire took, at once or when the framework is done with it.
func (n *network) start(ctx context.Context, cfg vmnet.Config) (*device, error) {
	s := &startCall{net: n, call: callStart, desc: n.describe(cfg), ready: make(chan struct{})}
	if n.kind == logical {
		s.call = callStartWith
	}
	err := s.desc.err
	if err == nil {
		s.queue, err = n.drv.api.newQueue("vmnet." + n.cfg.Name)
	}
	if err != nil {
		s.desc.release()
		n.drv.yield()
		return nil, err
	}
	s.handle = newHandle(s)
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	d := attach(n, s, n.headed(cfg))
	if err := d.accept(cfg, s.params); err != nil {
		n.drv.cfg.Log("network %s: %s answered %+v", n.cfg.Name, s.call, s.params)
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// run calls the framework and waits for both halves of its answer.
func (s *startCall) run(ctx context.Context) error {
	if err := s.net.drv.guard.admit(ctx, s.call); err != nil {
		s.desc.release()
		s.giveBack()
		return err
	}
	limit := s.net.drv.cfg.StartTimeout
	ref := s.net.use() // not in the goroutine, which may run when the network is closed
	ifc, err := run(ctx, &s.net.drv.guard, s.call, limit, func() uintptr { return s.start(ref) }, func(ifc uintptr) { s.settle(ifc); s.cleanup() })
	if err != nil {
		s.abandon()
		return err
	}
	if s.settle(ifc); ifc == 0 {
		limit = min(limit, nullGrace)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.ready:
		return s.result()
	case <-timer.C:
		err = &HungError{Call: s.call + ": handler", After: limit}
	case <-ctx.Done():
		err = fmt.Errorf("%s: no answer yet: %w", s.call, ctx.Err())
	}
	if ifc == 0 {
		err = &StatusError{Call: s.call, Code: vmnet.Failure, Hint: fmt.Sprintf("no interface, and no status within %s", limit)}
	}
	s.abandon()
	return err
}

// start calls the C function with ref, the network's reference, and gives that
// back. The dictionary and the block are copied or kept by C as it needs them.
func (s *startCall) start(ref uintptr) uintptr {
	defer s.net.unref()
	defer s.desc.release()
	a := s.net.drv.api
	block := a.block(bridge.start, s.handle)
	if s.net.kind != logical {
		ifc, _, _ := purego.SyscallN(a.startInterface, s.desc.obj, s.queue, uintptr(unsafe.Pointer(block)))
		return ifc
	}
	ifc, _, _ := purego.SyscallN(a.startWithNetwork, ref, s.desc.obj, s.queue, uintptr(unsafe.Pointer(block)))
	return ifc
}

// answered is called by the handler; obj is borrowed.
func (s *startCall) answered(status uint32, obj uintptr) {
	p := s.net.drv.api.readParams(obj)
	s.mu.Lock()
	s.status, s.params, s.heard = vmnet.Code(status), p, true
	late := s.gone
	close(s.ready)
	s.mu.Unlock()
	if late {
		s.net.drv.guard.back(s.call + ": handler")
		go s.cleanup() // not here: this is the queue that a stop waits for
	}
}

// settle notes what the function returned.
func (s *startCall) settle(ifc uintptr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ifc, s.returned = ifc, true
}

// result judges a complete answer. A start that was refused is over; nothing is
// known to be needed for its interface, if it gave one.
func (s *startCall) result() error {
	s.mu.Lock()
	status, ifc := s.status, s.ifc
	s.mu.Unlock()
	if status == success && ifc != 0 {
		return nil
	}
	s.giveBack()
	if status == success {
		return &StatusError{Call: s.call, Code: vmnet.Failure, Hint: "success, but no interface"}
	}
	n := s.net
	return refusal{
		call: s.call, code: status, root: n.drv.root, modern: n.drv.api.modern(),
		opened: n.kind == logical || n.drv.privileged.Load(), what: n.what(), mode: n.cfg.Mode,
	}.explain()
}

// abandon leaves a start to itself. An interface whose status is still to come
// counts as hung.
func (s *startCall) abandon() {
	g := &s.net.drv.guard
	s.mu.Lock()
	s.gone = true
	s.pending = s.returned && s.ifc != 0 && !s.heard
	if s.pending {
		g.hung.Add(1)
		g.total.Add(1)
	}
	s.mu.Unlock()
	s.cleanup()
}

// cleanup stops what a start brought that nobody waits for any more, once both
// halves of the answer are there.
func (s *startCall) cleanup() {
	s.mu.Lock()
	if s.over || !s.gone || !s.returned || s.ifc != 0 && !s.heard {
		s.mu.Unlock()
		return
	}
	s.over = true
	if s.pending {
		s.net.drv.guard.hung.Add(-1)
	}
	ifc, ok := s.ifc, s.status == success
	s.mu.Unlock()
	if ifc == 0 || !ok {
		s.giveBack()
		return
	}
	d := attach(s.net, s, false) // no frame is moved
	if err := d.Close(); err != nil {
		s.net.drv.cfg.Log("stop of an interface that came too late: %v", err)
	}
}

// giveBack frees what a start without an interface held.
func (s *startCall) giveBack() {
	dropHandle(s.handle)
	s.net.drv.api.releaseQueue(s.queue)
	s.net.drv.yield()
}

// what names the network for messages.
func (n *network) what() string {
	switch {
	case n.cfg.Mode == vmnet.Bridged:
		return "uplink " + n.cfg.Uplink
	case n.cfg.Subnet.IsValid():
		return "subnet " + n.cfg.Subnet.String()
	}
	return n.cfg.Mode.String() + " mode's default subnet"
}
