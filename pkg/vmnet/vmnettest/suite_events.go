package vmnettest

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func eventCases() []testCase {
	return []testCase{
		{"before the first wait", true, "WaitForEvent returns at once when frames were there before the first wait", eventsBefore},
		{"none lost", true, "an event is not lost between the last empty read and the wait", eventsNoneLost},
		{"several readers", true, "several goroutines may wait; each frame is read once, and none stays while a reader waits", eventsReaders},
		{"cancel", true, "WaitForEvent and ReadContext end with the context's error, and lose no frame", eventsCancel},
		{"handler set", true, "WaitForEvent returns ErrHandlerSet while a handler is set, also when it waited already, and works again after", eventsHandlerSet},
	}
}

func eventsBefore(k *kit) {
	a, b := k.two()
	k.send(a, k.to(b, a, 1), k.to(b, a, 2))
	k.next(b) // the first has arrived, so the second has or will
	if err := b.WaitForEvent(k.ctx); err != nil {
		k.Fatalf("wait: %v", err)
	}
	k.next(b)
}

// eventsNoneLost plays ping-pong: each side sends one frame and waits for the
// answer, so a lost event stops the game.
func eventsNoneLost(k *kit) {
	a, b := k.two()
	const rounds = 3000
	play := func(me, other *vmnet.Interface, first bool) error {
		f := k.to(other, me, 0)
		buf := make([]byte, me.MaxPacketSize())
		for round := range rounds {
			if first {
				if err := me.Write(f); err != nil {
					return err
				}
			}
			for spin := round % 8; spin > 0; spin-- {
				runtime.Gosched()
			}
			if err := drainWait(k.ctx, me, buf); err != nil {
				return err
			}
			if !first {
				if err := me.Write(f); err != nil {
					return err
				}
			}
		}
		return nil
	}
	answer := background(func() error { return play(b, a, false) })
	if err := play(a, b, true); err != nil {
		k.Errorf("play: %v", err)
	}
	if err := <-answer; err != nil {
		k.Errorf("answer: %v", err)
	}
}

// drainWait reads until ErrNoPackets and then waits, as programs written for the
// OCaml library do, until a test frame has come.
func drainWait(ctx context.Context, i *vmnet.Interface, buf []byte) error {
	for {
		n, err := i.Read(buf)
		switch {
		case err == nil:
			if _, ok := seqOf(buf[:n]); ok {
				return nil
			}
		case errors.Is(err, vmnet.ErrNoPackets):
			if err := i.WaitForEvent(ctx); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

func eventsReaders(k *kit) {
	a, b := k.two()
	const total = 40 * window
	ctx, cancel := context.WithCancel(k.ctx)
	var seen [total]atomic.Uint32
	var got atomic.Uint32
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			buf := make([]byte, b.MaxPacketSize())
			for {
				n, err := b.ReadContext(ctx, buf)
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						k.Errorf("read: %v", err)
					}
					return
				}
				if seq, ok := seqOf(buf[:n]); ok {
					seen[seq].Add(1)
					got.Add(1)
				}
			}
		})
	}
	defer readers.Wait()
	defer cancel()
	for seq := uint32(0); seq < total; seq += window {
		for x := range uint32(window) {
			k.send(a, k.to(b, a, seq+x))
		}
		k.poll("every frame being read", func() bool { return got.Load() >= seq+window })
	}
	for seq := range seen {
		if n := seen[seq].Load(); n != 1 {
			k.Fatalf("frame %d was read %d times", seq, n)
		}
	}
}

func eventsCancel(k *kit) {
	a, b := k.two()
	buf := make([]byte, b.MaxPacketSize())
	ctx, cancel := context.WithTimeout(k.ctx, time.Millisecond)
	defer cancel()
	for err := error(nil); err == nil; { // the driver may send frames of its own
		if _, err = b.ReadContext(ctx, buf); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			k.Fatalf("read until a deadline: %v", err)
		}
	}
	for range 100 {
		ctx, cancel := context.WithCancel(k.ctx)
		wait := background(func() error { return waitUntil(ctx, b) })
		runtime.Gosched()
		cancel()
		if err := receive(k, "a cancelled wait ending", wait); !errors.Is(err, context.Canceled) {
			k.Fatalf("cancelled wait: %v", err)
		}
	}
	f := k.to(b, a, 9)
	k.send(a, f)
	for {
		n, err := b.ReadContext(k.ctx, buf)
		if err != nil {
			k.Fatalf("read: %v", err)
		}
		if seq, ok := seqOf(buf[:n]); ok && seq == 9 {
			return
		}
	}
}

// waitUntil waits for events until ctx ends.
func waitUntil(ctx context.Context, i *vmnet.Interface) error {
	for {
		if err := i.WaitForEvent(ctx); err != nil {
			return err
		}
	}
}

func eventsHandlerSet(k *kit) {
	a, b := k.two()
	for round := range 20 {
		wait := background(func() error { return waitUntil(k.ctx, b) })
		if round%2 == 1 {
			time.Sleep(time.Millisecond) // most likely it waits by now
		}
		k.set(b, func() {})
		if err := receive(k, "a wait ending when a handler is set", wait); !errors.Is(err, vmnet.ErrHandlerSet) {
			k.Errorf("wait under way: %v, want ErrHandlerSet", err)
		}
		if err := b.WaitForEvent(k.ctx); !errors.Is(err, vmnet.ErrHandlerSet) {
			k.Errorf("wait: %v, want ErrHandlerSet", err)
		}
		k.set(b, nil)
	}
	k.send(a, k.to(b, a, 1))
	if err := drainWait(k.ctx, b, make([]byte, b.MaxPacketSize())); err != nil {
		k.Errorf("wait after the handler: %v", err)
	}
}

// canceled returns a context that has ended.
func canceled(k *kit) context.Context {
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	return ctx
}
