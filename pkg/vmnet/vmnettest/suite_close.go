package vmnettest

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func closeCases() []testCase {
	return []testCase{
		{"idempotent", false, "Close may be called again and by several at once; each returns when the interface is stopped", closeTwice},
		{"unblocks", false, "Close ends waits and reads under way with an error that matches net.ErrClosed", closeUnblocks},
		{"after", false, "after Close every method returns an error that matches net.ErrClosed", closeAfter},
		{"waits for the handler", true, "Close waits for a running call of the handler, and no call comes after it", closeHandler},
		{"races", true, "reading, writing, waiting, handlers and closing may come from different goroutines", closeRaces},
		{"peer gone", true, "a closed interface does not break the others of its network, and can be started again", closePeer},
	}
}

func closeTwice(k *kit) {
	i := k.one()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := i.Close(); err != nil {
				k.Errorf("close: %v", err)
			}
		})
	}
	all.Wait()
	if err := i.Close(); err != nil {
		k.Errorf("close again: %v", err)
	}
}

func closeUnblocks(k *kit) {
	i := k.one()
	var blocked []<-chan error
	for range 3 {
		blocked = append(blocked,
			background(func() error { return waitUntil(k.ctx, i) }),
			background(func() error {
				buf := make([]byte, i.MaxPacketSize())
				for {
					if _, err := i.ReadContext(k.ctx, buf); err != nil {
						return err
					}
				}
			}))
	}
	if err := i.WaitForEvent(canceled(k)); err != nil && !errors.Is(err, context.Canceled) {
		k.Errorf("wait: %v", err)
	}
	if err := i.Close(); err != nil {
		k.Errorf("close: %v", err)
	}
	for _, c := range blocked {
		if err := receive(k, "a blocked call ending", c); !errors.Is(err, net.ErrClosed) {
			k.Errorf("blocked call: %v", err)
		}
	}
}

func closeAfter(k *kit) {
	i := k.one()
	f, err := i.Forwarder()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		k.Errorf("forwarder: %v", err)
	}
	if err := i.Close(); err != nil {
		k.Fatalf("close: %v", err)
	}
	buf := make([]byte, i.MaxPacketSize())
	calls := map[string]func() error{
		"Read":                 func() error { _, err := i.Read(buf); return err },
		"ReadBatch":            func() error { _, err := i.ReadBatch([][]byte{buf}, make([]int, 1)); return err },
		"ReadContext":          func() error { _, err := i.ReadContext(k.ctx, buf); return err },
		"Write":                func() error { return i.Write(buf[:minTest]) },
		"WriteBatch":           func() error { _, err := i.WriteBatch([][]byte{buf[:minTest]}); return err },
		"WaitForEvent":         func() error { return i.WaitForEvent(k.ctx) },
		"SetEventHandler":      func() error { return i.SetEventHandler(func() {}) },
		"SetEventHandler(nil)": func() error { return i.SetEventHandler(nil) },
	}
	if f != nil {
		calls["AddForward"] = func() error { return f.AddForward(k.ctx, vmnet.Forward{}) }
		calls["Forwards"] = func() error { _, err := f.Forwards(k.ctx); return err }
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, vmnet.ErrClosed) || !errors.Is(err, net.ErrClosed) {
			k.Errorf("%s: %v", name, err)
		}
	}
}

func closeHandler(k *kit) {
	a, b := k.two()
	entered, gate := make(chan bool, 1), make(chan bool)
	var calls atomic.Int32
	k.set(b, func() {
		if calls.Add(1) == 1 {
			entered <- true
			<-gate
		}
	})
	k.send(a, k.to(b, a, 1))
	receive(k, "the call", entered)
	closed := background(b.Close)
	silent(k, "Close returned while the handler ran", closed)
	close(gate)
	if err := receive(k, "Close returning", closed); err != nil {
		k.Errorf("close: %v", err)
	}
	was := calls.Load()
	k.send(a, k.to(b, a, 2))
	k.nothing(a)
	if n := calls.Load(); n != was {
		k.Errorf("%d calls after Close", n-was)
	}
}

func closeRaces(k *kit) {
	for range 10 {
		n := k.open(nil)
		a, b := k.start(n, vmnet.Config{}), k.start(n, vmnet.Config{})
		var users sync.WaitGroup
		use := func(fn func() error) {
			users.Go(func() {
				for {
					if err := fn(); errors.Is(err, net.ErrClosed) {
						return
					} else if k.ctx.Err() != nil {
						k.Errorf("calls go on after Close: %v", err)
						return
					}
				}
			})
		}
		var busy atomic.Int32
		for range 2 {
			f := k.to(b, a, 1)
			batch := [][]byte{f, f, f}
			use(func() error { busy.Add(1); return a.Write(f) })
			use(func() error { _, err := a.WriteBatch(batch); return err })
			buf := make([]byte, b.MaxPacketSize())
			use(func() error { _, err := b.ReadContext(k.ctx, buf); return err })
			use(func() error { return b.SetEventHandler(func() { busy.Add(1) }) })
			use(func() error { return b.SetEventHandler(nil) })
		}
		k.poll("the interfaces being busy", func() bool { return busy.Load() > 20 })
		var closers sync.WaitGroup
		closers.Go(func() { a.Close() })
		closers.Go(func() { b.Close() })
		closers.Wait()
		users.Wait()
		n.Close()
	}
}

func closePeer(k *kit) {
	n := k.open(nil)
	id := uuid.New()
	a, b := k.start(n, vmnet.Config{}), k.start(n, vmnet.Config{UUID: id})
	k.join(a, b)
	b.Close()
	f := k.to(b, a, 3)
	for range 100 {
		if err := a.Write(f); err != nil && !errors.Is(err, vmnet.BufferExhausted) {
			k.Fatalf("write to one that is gone: %v", err)
		}
	}
	if k.h.Direct {
		return
	}
	again := k.start(n, vmnet.Config{UUID: id})
	k.join(a, again)
	f = k.to(again, a, 4)
	k.send(a, f)
	for got := k.next(again); ; got = k.next(again) {
		if seq, _ := seqOf(got); seq == 4 {
			return // frames sent meanwhile may or may not come first
		}
	}
}
