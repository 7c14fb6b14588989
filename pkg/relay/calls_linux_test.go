package relay_test

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// System calls and calls of the device are per batch. These counts do not depend on
// how fast the machine is: what is moved waits before the relay looks.

// newWaiting returns a relay on a mill without a peer, and both ends of a socket; calls
// counts those of the relay's end.
func newWaiting(t *testing.T) (r *relay.Relay, m *mill, ours, guest relay.Port, calls *relay.Calls) {
	t.Helper()
	m = newMill(maxFrame)
	r, err := relay.New(vmnet.NewInterface("calls", m), relay.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	ours, guest = ports(t, unix.SOCK_DGRAM, relay.NewDatagramPort, maxFrame)
	return r, m, ours, guest, relay.CountCalls(ours)
}

func TestCallsFromGuest(t *testing.T) {
	r, m, ours, guest, calls := newWaiting(t)
	n, err := guest.WriteBatch(relay.NewBuffers(256, maxFrame)) // until the queue is full
	if n < 8 || err != nil && !errors.Is(err, relay.ErrQueueFull) {
		t.Skipf("%d frames in the queue, %v", n, err)
	}
	r.Attach(ours, "fd")
	eventually(t, "the frames", func() bool { return m.got.Load() == int64(n) })
	// The first batch has 8 buffers, the others 64; one call finds nothing, and one
	// nothing that came before it was said that what comes is to wake the reader.
	batches := int64(1 + (n-8+63)/64)
	if got := m.writes.Load(); got > batches {
		t.Errorf("%d calls of the device for %d frames, want at most %d", got, n, batches)
	}
	if got := calls.Receives.Load(); got > batches+2 {
		t.Errorf("%d system calls for %d frames, want at most %d", got, n, batches+2)
	}
}

func TestCallsToGuest(t *testing.T) {
	r, m, ours, guest, calls := newWaiting(t)
	r.Attach(ours, "fd")
	const n = 8 // what any queue has room for
	m.grind(n)
	got, bufs, sizes := 0, relay.NewBuffers(n, maxFrame), make([]int, n)
	for got < n {
		k, err := guest.ReadBatch(bufs, sizes)
		if err != nil {
			t.Fatal(err)
		}
		got += k
	}
	eventually(t, "the end of the batch", func() bool { return m.reads.Load() >= 2 })
	if c := calls.Sends.Load(); c != 1 {
		t.Errorf("%d system calls for a batch of %d frames, want 1", c, n)
	}
	if c := m.reads.Load(); c != 2 {
		t.Errorf("%d calls of the device for a batch and the end, want 2", c)
	}
}

// Of a stream one read brings many frames, and the device is called for a batch.
func TestCallsFromStream(t *testing.T) {
	m := newMill(maxFrame)
	r, err := relay.New(vmnet.NewInterface("calls", m), relay.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ours, guest := ports(t, unix.SOCK_STREAM, relay.NewStreamPort, maxFrame)
	const n = 512
	if k, err := guest.WriteBatch(relay.NewBuffers(n, 60)); k != n || err != nil {
		t.Fatal(k, err)
	}
	r.Attach(ours, "fd")
	eventually(t, "the frames", func() bool { return m.got.Load() == n })
	// 256 frames fill the first read of 16 KiB: 4 batches and what is left; the
	// second read brings the rest.
	if got := m.writes.Load(); got > n/64+2 {
		t.Errorf("%d calls of the device for %d frames, want at most %d", got, n, n/64+2)
	}
}

// A guest that does not read costs no processor time: who writes to it waits, and does
// not ask without end whether there is room.
func TestFullQueueSleeps(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			ours, _ := ports(t, fr.typ, fr.open, maxFrame)
			frames := relay.NewBuffers(64, maxFrame)
			var err error
			for err == nil {
				_, err = ours.WriteBatch(frames)
			}
			runtime.LockOSThread() // WriteBatch works in the caller's
			defer runtime.UnlockOSThread()
			start, before := time.Now(), threadTime(t)
			for range 10 {
				if _, err := ours.WriteBatch(frames); !errors.Is(err, relay.ErrQueueFull) {
					t.Fatal(err)
				}
			}
			if used := threadTime(t) - before; used > 50*time.Millisecond {
				t.Errorf("%v of processor time while waiting for %v", used, time.Since(start))
			}
		})
	}
}

// threadTime returns the processor time that the caller's thread has taken.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}
