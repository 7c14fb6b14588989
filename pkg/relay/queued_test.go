package relay_test

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// TestQueued fills the socket of a guest that does not read: what waits there is
// told, and nothing when the guest has read it.
func TestQueued(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the system does not tell what waits in the guest's socket")
	}
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			r := newRig(t, 1500, relay.Config{})
			if from, to := r.Queued(); from != 0 || to != 0 {
				t.Errorf("without a guest %d and %d bytes wait", from, to)
			}
			theirs := r.attach(t, fr.typ, fr.open)
			const n, size = 10, 1000
			for i := range n {
				if err := r.far.Write(frame(size, i)); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "frames in the guest's socket", func() bool {
				_, to := r.Queued()
				return r.Stats().ToGuest.Frames == n && to >= n*size
			})
			buf := make([]byte, n*2*size)
			for got := 0; got < n*size; {
				k, err := unix.Read(int(theirs.Fd()), buf)
				if err != nil {
					t.Fatal(err)
				}
				got += k
			}
			eventually(t, "an empty socket", func() bool { _, to := r.Queued(); return to == 0 })
			r.Close()
			if from, to := r.Queued(); from != 0 || to != 0 {
				t.Errorf("after the end %d and %d bytes wait", from, to)
			}
		})
	}
}

// TestQueuedNoAllocations has to cost little: it is asked for every attachment
// whenever somebody looks.
func TestQueuedNoAllocations(t *testing.T) {
	r := newRig(t, 1500, relay.Config{})
	r.attach(t, unix.SOCK_DGRAM, relay.NewDatagramPort)
	if n := testing.AllocsPerRun(100, func() { r.Queued() }); n > 3 {
		t.Errorf("%v allocations", n)
	}
}
