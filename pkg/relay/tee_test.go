package relay_test

import (
	"sync"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// A witness counts what a tee sees.
type witness struct {
	mu       sync.Mutex
	from, to int
}

func (w *witness) Frame(toGuest bool, _ []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if toGuest {
		w.to++
	} else {
		w.from++
	}
}

func (w *witness) counts() (from, to int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.from, w.to
}

// Tees see frames in both directions while they are there, and only so many are.
func TestTee(t *testing.T) {
	g := newRig(t, 1500, relay.Config{})
	dir, _, _ := g.sockets(t, false)
	a := callers["fd"](t, g, dir, "")
	var list []*witness
	for range relay.MaxTees {
		w := &witness{}
		if !g.AddTee(w) {
			t.Fatal("no room")
		}
		list = append(list, w)
	}
	if g.AddTee(&witness{}) {
		t.Error("room for one too many")
	}
	g.works(t, a, 1)
	for _, w := range list { // which see a frame when the guest has it
		eventually(t, "a frame each way", func() bool { from, to := w.counts(); return from == 1 && to == 1 })
	}
	for _, w := range list[1:] {
		g.RemoveTee(w)
		g.RemoveTee(w) // once more is fine
	}
	g.works(t, a, 2)
	eventually(t, "two frames each way", func() bool { from, to := list[0].counts(); return from == 2 && to == 2 })
	for _, w := range list[1:] {
		if from, to := w.counts(); from != 1 || to != 1 {
			t.Errorf("removed after one frame each way: %d, %d", from, to)
		}
	}
	g.RemoveTee(list[0])
	g.works(t, a, 3)
	if from, to := list[0].counts(); from != 2 || to != 2 {
		t.Errorf("%d, %d frames after its end", from, to)
	}
}
