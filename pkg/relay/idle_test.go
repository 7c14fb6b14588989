package relay_test

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// An attachment whose guest says little costs little, most of it buffers that no
// traffic has touched yet.
func TestIdleMemory(t *testing.T) {
	const relays, limit = 20, 300 << 10 // bytes of heap for one
	heap := func() int64 {
		for range 3 { // what has a finalizer, or was in a pool, goes with a later one
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before := heap()
	keep := make([]*relay.Relay, 0, relays)
	for range relays {
		m := newMill(maxFrame)
		r, err := relay.New(vmnet.NewInterface("idle", m), relay.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		g := &rig{Relay: r}
		g.sockets(t, false)
		ours, theirs := socketpair(t, unix.SOCK_DGRAM)
		p, err := relay.NewDatagramPort(ours, maxFrame)
		if err != nil {
			t.Fatal(err)
		}
		r.Attach(p, "fd")
		m.grind(1) // one frame each way
		buf := make([]byte, 2000)
		if _, err := theirs.Read(buf); err != nil {
			t.Fatal(err)
		}
		write(t, theirs, buf[:60])
		eventually(t, "the frame", func() bool { return m.got.Load() == 1 })
		keep = append(keep, r)
	}
	each := (heap() - before) / relays
	t.Logf("%d KiB for each of %d attachments", each>>10, relays)
	if each > limit {
		t.Errorf("%d bytes, want at most %d", each, limit)
	}
	runtime.KeepAlive(keep)
}

// Frames for nobody cost no more than their reading, and none costs nothing.
func TestIdleIsQuiet(t *testing.T) {
	g := newRig(t, 1500, relay.Config{})
	g.sockets(t, false)
	g.attach(t, unix.SOCK_DGRAM, relay.NewDatagramPort)
	used := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	// The collector takes time too, and comes to rest.
	eventually(t, "200 ms with at most 50 ms of processor time", func() bool {
		before := used()
		time.Sleep(200 * time.Millisecond) // what is measured, not a wait for something
		return used()-before <= 50*time.Millisecond
	})
}
