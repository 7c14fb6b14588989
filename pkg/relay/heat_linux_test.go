package relay_test

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A busy guest is waited for in the kernel, an idle one is not, no frame is lost on
// the way from one to the other, and the bound of the threads holds.
func TestHeat(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			threads := relay.NewThreads(1, time.Hour)
			first, second := newBusy(t, fr.typ, fr.open, threads), newBusy(t, fr.typ, fr.open, threads)
			eventually(t, "a reader in the kernel", func() bool { first.say(t); return threads.Waiting() == 1 })
			for range 20 {
				second.say(t)
			}
			if n := threads.Waiting(); n > 1 {
				t.Errorf("%d readers in the kernel, at most 1 may", n)
			}
			eventually(t, "nobody in the kernel", func() bool { return threads.Waiting() == 0 })
			first.say(t)
			eventually(t, "a reader in the kernel again", func() bool { second.say(t); return threads.Waiting() == 1 })
		})
	}
}

// Close ends a wait in the kernel, and gives its thread back.
func TestHeatClose(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			threads := relay.NewThreads(1, time.Hour)
			b := newBusy(t, fr.typ, fr.open, threads)
			eventually(t, "a reader in the kernel", func() bool { b.say(t); return threads.Waiting() == 1 })
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			if n := threads.Waiting(); n != 0 {
				t.Errorf("%d readers in the kernel after Close", n)
			}
		})
	}
}

// A guest that says something now and then never gets a thread.
func TestHeatQuiet(t *testing.T) {
	threads := &relay.Threads{Max: 1}
	b := newBusy(t, unix.SOCK_DGRAM, relay.NewDatagramPort, threads)
	for range 10 {
		b.say(t)
		time.Sleep(5 * time.Millisecond) // what is measured: gaps of more than hotGap
		if n := threads.Waiting(); n != 0 {
			t.Fatalf("%d readers in the kernel", n)
		}
	}
}

// A busy is a relay on a mill and its guest's port.
type busy struct {
	*relay.Relay
	mill  *mill
	guest relay.Port
}

func newBusy(t *testing.T, typ int, open func(*os.File, int) (relay.Port, error), threads *relay.Threads) *busy {
	t.Helper()
	m := newMill(maxFrame)
	r, err := relay.New(vmnet.NewInterface("busy", m), relay.Config{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	ours, guest := ports(t, typ, open, maxFrame)
	r.Attach(ours, "fd")
	return &busy{r, m, guest}
}

// say has the guest send one frame and waits until it has arrived.
func (b *busy) say(t *testing.T) {
	t.Helper()
	want := b.mill.got.Load() + 1
	if _, err := b.guest.WriteBatch([][]byte{frame(60, 1)}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); b.mill.got.Load() < want; {
		if time.Now().After(end) {
			t.Fatal("the frame did not arrive")
		}
		time.Sleep(20 * time.Microsecond)
	}
}
