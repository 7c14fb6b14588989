package vmnettest

import (
	"sync"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A queue is a bounded ring of frames in one block of memory.
type queue struct {
	slot int // bytes of a slot: the largest frame

	mu     sync.Mutex // guards all following fields
	mem    []byte     // len(sizes) slots
	sizes  []int
	head   int // the slot of the oldest frame
	count  int // frames waiting
	closed bool
}

// newQueue returns a queue of the given number of frames of at most slot bytes.
// Its memory is touched only as far as it is used.
func newQueue(frames, slot int) *queue {
	return &queue{slot: slot, mem: make([]byte, frames*slot), sizes: make([]int, frames)}
}

// push copies frames in, in order, until the queue is full, and returns how many
// it took. A closed queue takes all and keeps none, as a cable nobody holds.
func (q *queue) push(frames [][]byte) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return len(frames)
	}
	for n, f := range frames {
		if q.count == len(q.sizes) {
			return n
		}
		i := q.head + q.count
		if i >= len(q.sizes) {
			i -= len(q.sizes)
		}
		q.sizes[i] = copy(q.mem[i*q.slot:(i+1)*q.slot], f)
		q.count++
	}
	return len(frames)
}

// pop moves the oldest frames into bufs and returns how many.
func (q *queue) pop(bufs [][]byte, sizes []int) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, vmnet.ErrClosed
	}
	n := min(q.count, len(bufs))
	if n == 0 {
		return 0, vmnet.ErrNoPackets
	}
	for k := range n {
		at := q.head * q.slot
		sizes[k] = copy(bufs[k], q.mem[at:at+q.sizes[q.head]])
		if q.head++; q.head == len(q.sizes) {
			q.head = 0
		}
	}
	q.count -= n
	return n, nil
}

// waiting reports whether a frame can be read.
func (q *queue) waiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count > 0
}

// close drops what is waiting.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.count, q.mem = true, 0, nil
}
