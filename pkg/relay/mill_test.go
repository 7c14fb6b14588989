package relay_test

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A mill is a device that grinds frames out as fast as they are read, and
// swallows those written, so that a figure is the relay's and the socket's.
type mill struct {
	size int
	due  atomic.Int64 // frames still to be read
	got  atomic.Int64 // frames written

	reads, writes atomic.Int64 // calls

	kick chan struct{}
	quit chan struct{}
	once sync.Once
	wg   sync.WaitGroup
}

func newMill(size int) *mill {
	return &mill{size: size, kick: make(chan struct{}, 1), quit: make(chan struct{})}
}

func (m *mill) Info() vmnet.Info {
	return vmnet.Info{
		MAC: []byte{2, 0, 0, 0, 0, 1}, MTU: m.size - vmnet.HeaderLen, MaxPacketSize: m.size,
		ReadBatch: 128, WriteBatch: 128,
	}
}

func (m *mill) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	m.reads.Add(1)
	n := int(min(m.due.Load(), int64(len(bufs))))
	if n == 0 {
		return 0, vmnet.ErrNoPackets
	}
	for i := range n {
		sizes[i] = m.size
	}
	m.due.Add(int64(-n))
	return n, nil
}

func (m *mill) WriteBatch(frames [][]byte) (int, error) {
	m.writes.Add(1)
	m.got.Add(int64(len(frames)))
	return len(frames), nil
}

func (m *mill) SetEventHandler(fn func()) error {
	if fn == nil {
		m.once.Do(func() { close(m.quit) })
		m.wg.Wait()
		return nil
	}
	m.wg.Go(func() {
		for {
			select {
			case <-m.kick:
				fn()
			case <-m.quit:
				return
			}
		}
	})
	return nil
}

func (m *mill) Close() error { return m.SetEventHandler(nil) }

// grind makes n frames wait.
func (m *mill) grind(n int) {
	m.due.Add(int64(n))
	m.kick <- struct{}{}
}

// pour is grind for a handler that may be at work: it finds the frames.
func (m *mill) pour(n int) {
	m.due.Add(int64(n))
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// bench is a relay on a mill with a guest.
type bench struct {
	*mill
	*relay.Relay
	guest relay.Port
}

func newBench(tb testing.TB, framing, size int) *bench {
	tb.Helper()
	return newLimitedBench(tb, framing, size, relay.Limits{})
}

func newLimitedBench(tb testing.TB, framing, size int, limits relay.Limits) *bench {
	tb.Helper()
	fr := framings[framing]
	m := newMill(size)
	r, err := relay.New(vmnet.NewInterface("bench", m), relay.Config{PeerWait: 5 * time.Second, Limits: limits})
	if err != nil {
		tb.Fatal(err)
	}
	ours, theirs := socketpair(tb, fr.typ)
	for _, f := range []*os.File{ours, theirs} { // as the hand-over sets them
		raw, err := f.SyscallConn()
		if err != nil {
			tb.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) { setBuffers(tb, int(fd), 4<<20) }); err != nil {
			tb.Fatal(err)
		}
	}
	guest, err := fr.open(theirs, size)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := fr.open(ours, size)
	if err != nil {
		tb.Fatal(err)
	}
	r.Attach(p, "fd")
	tb.Cleanup(func() { guest.Close(); r.Close() })
	return &bench{m, r, guest}
}

// reader returns a function that reads n frames at the guest's end.
func (b *bench) reader(tb testing.TB) func(n int) {
	batch := relay.BatchLen(b.size)
	bufs, sizes := relay.NewBuffers(batch, b.size), make([]int, batch)
	return func(n int) {
		for n > 0 {
			k, err := b.guest.ReadBatch(bufs, sizes)
			if err != nil {
				tb.Error(err)
				return
			}
			n -= k
		}
	}
}

// writer returns a function that sends n frames from the guest's end and waits
// until the mill has them.
func (b *bench) writer(tb testing.TB) func(n int) {
	batch := relay.NewBuffers(relay.BatchLen(b.size), b.size)
	return func(n int) {
		end := b.got.Load() + int64(n)
		for n > 0 {
			k, err := b.guest.WriteBatch(batch[:min(n, len(batch))])
			if err != nil && !errors.Is(err, relay.ErrQueueFull) {
				tb.Error(err)
				return
			}
			n -= k
		}
		for b.got.Load() < end {
			time.Sleep(10 * time.Microsecond)
		}
	}
}
