package vmnettest

import (
	"errors"
	"runtime"
	"sync/atomic"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func handlerCases() []testCase {
	return []testCase{
		{"level", true, "a handler is called when frames are waiting already as it is set", handlerLevel},
		{"again", true, "a handler is called again for a frame that comes while a call runs", handlerAgain},
		{"no overlap", true, "calls of the handler never overlap, not even when it is replaced", handlerOverlap},
		{"nil waits", true, "SetEventHandler(nil) waits for a running call, and no call comes after it", handlerNil},
		{"may do work", true, "a handler may read, write to other devices and block, which delays no other device", handlerWork},
		{"nothing lost", true, "a handler that reads until ErrNoPackets misses no frame, however it races with the sender", handlerStress},
	}
}

func handlerLevel(k *kit) {
	a, b := k.two()
	k.send(a, k.to(b, a, 1), k.to(b, a, 2))
	k.next(b) // the first has arrived, so the second has or will
	for range 2 {
		called := make(chan bool, 1)
		k.set(b, func() {
			select {
			case called <- true:
			default:
			}
		})
		receive(k, "the call for frames that were waiting", called)
		k.set(b, nil)
	}
	k.next(b)
}

// set sets a handler.
func (k *kit) set(i *vmnet.Interface, fn func()) {
	k.Helper()
	if err := i.SetEventHandler(fn); err != nil {
		k.Fatalf("set handler: %v", err)
	}
}

// drain reads what is waiting and returns how many test frames there were.
func drain(i *vmnet.Interface, buf []byte) (count int) {
	for {
		n, err := i.Read(buf)
		if err != nil {
			return count
		}
		if _, ok := seqOf(buf[:n]); ok {
			count++
		}
	}
}

func handlerAgain(k *kit) {
	a, b := k.two()
	drained, gate := make(chan int), make(chan bool)
	buf := make([]byte, b.MaxPacketSize())
	k.set(b, func() {
		if n := drain(b, buf); n > 0 {
			drained <- n
			<-gate // the call goes on after the queue was empty
		}
	})
	for seq := range uint32(50) {
		k.send(a, k.to(b, a, seq))
		receive(k, "the call for a frame", drained)
		// The next frame comes while this call runs.
		if seq%2 == 0 {
			k.send(a, k.to(b, a, 1000+seq))
			gate <- true
			receive(k, "the call for a frame that came during a call", drained)
		}
		gate <- true
	}
	k.set(b, nil)
}

func handlerOverlap(k *kit) {
	a, b := k.two()
	var running, calls, overlaps atomic.Int32
	buf := make([]byte, b.MaxPacketSize())
	handler := func() func() {
		return func() {
			if running.Add(1) != 1 {
				overlaps.Add(1)
			}
			calls.Add(1)
			for range 20 {
				runtime.Gosched()
			}
			drain(b, buf)
			running.Add(-1)
		}
	}
	var stop atomic.Bool
	flood := background(func() bool {
		for f := k.to(b, a, 1); !stop.Load(); runtime.Gosched() {
			_ = a.Write(f) // full is fine here
		}
		return true
	})
	defer func() { stop.Store(true); <-flood }()
	for range 200 {
		k.set(b, handler())
		before := calls.Load()
		k.poll("calls of the handler", func() bool { return calls.Load() > before })
	}
	k.set(b, nil)
	if n := overlaps.Load(); n != 0 {
		k.Errorf("%d of %d calls overlapped", n, calls.Load())
	}
}

func handlerNil(k *kit) {
	a, b := k.two()
	entered, gate := make(chan bool, 1), make(chan bool)
	var calls atomic.Int32
	k.set(b, func() {
		calls.Add(1)
		select {
		case entered <- true:
		default:
		}
		<-gate
	})
	k.send(a, k.to(b, a, 1))
	receive(k, "the call", entered)
	done := background(func() error { return b.SetEventHandler(nil) })
	silent(k, "SetEventHandler(nil) returned while the handler ran", done)
	close(gate)
	if err := receive(k, "SetEventHandler(nil) returning", done); err != nil {
		k.Errorf("end handler: %v", err)
	}
	was := calls.Load()
	last := k.to(b, a, 2)
	k.expect(b, k.to(b, a, 1))
	k.send(a, last)
	k.expect(b, last)
	k.nothing(b)
	if n := calls.Load(); n != was {
		k.Errorf("%d calls after the handler was ended", n-was)
	}
}

func handlerWork(k *kit) {
	n := k.open(nil)
	a, b := k.start(n, vmnet.Config{}), k.start(n, vmnet.Config{})
	k.join(a, b)
	gate, echoed := make(chan bool), make(chan bool, 1)
	buf := make([]byte, b.MaxPacketSize())
	answer := k.to(a, b, 77)
	k.set(b, func() {
		if drain(b, buf) == 0 {
			return
		}
		err := b.Write(answer)
		select {
		case echoed <- err == nil:
			<-gate // blocks: nobody else is delayed
		default:
		}
	})
	k.send(a, k.to(b, a, 1))
	if !receive(k, "the handler answering", echoed) {
		k.Errorf("write from the handler's own device went wrong")
	}
	k.expect(a, answer)
	for seq := range uint32(4 * DefaultQueue) { // a full queue is b's loss alone
		if err := a.Write(k.to(b, a, seq)); err != nil && !errors.Is(err, vmnet.BufferExhausted) {
			k.Fatalf("write to a busy device: %v", err)
		}
	}
	if !k.h.Direct {
		c := k.start(n, vmnet.Config{})
		k.join(a, c)
		f := k.to(c, a, 5)
		k.send(a, f)
		k.expect(c, f)
	}
	if err := b.Write(k.to(a, b, 78)); err != nil {
		k.Errorf("write while the handler blocks: %v", err)
	}
	close(gate)
	k.set(b, nil)
}

func handlerStress(k *kit) {
	a, b := k.two()
	var got atomic.Uint32
	buf := make([]byte, b.MaxPacketSize())
	k.set(b, func() { got.Add(uint32(drain(b, buf))) })
	const total = 3000
	for sent := range uint32(total) {
		k.send(a, k.to(b, a, sent))
		if sent%3 == 0 {
			k.poll("the handler reading every frame", func() bool { return got.Load() == sent+1 })
		}
	}
	k.poll("the handler reading every frame", func() bool { return got.Load() == total })
	k.set(b, nil)
}
