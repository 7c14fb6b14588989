package netstack

import (
	"sync"
	"sync/atomic"
)

// classSizes are the capacities of pooled frame buffers in bytes: pure ACKs and
// ARP, frames of MTU 1500, jumbo frames, and the largest there are (vmnet.MaxMTU
// and a header).
var classSizes = [...]int{256, 2048, 16 << 10, 65552}

// A frame is a copy of an Ethernet frame in a pooled buffer. It has one owner;
// the last one gives it back to its pool.
type frame struct {
	buf   []byte // whole capacity
	n     int    // length of the frame
	class int
}

func (f *frame) bytes() []byte { return f.buf[:f.n] }

// A framePool hands out frames of the four classes.
type framePool struct {
	classes [len(classSizes)]sync.Pool
}

// get returns a frame of n bytes with undefined content. n is at most the
// largest class.
func (p *framePool) get(n int) *frame {
	class := 0
	for classSizes[class] < n {
		class++
	}
	f, _ := p.classes[class].Get().(*frame)
	if f == nil {
		f = &frame{buf: make([]byte, classSizes[class]), class: class}
	}
	f.n = n
	return f
}

func (p *framePool) put(f *frame) { p.classes[f.class].Put(f) }

func (p *framePool) copyOf(b []byte) *frame {
	f := p.get(len(b))
	copy(f.buf, b)
	return f
}

// A queue holds the frames waiting at one port, bounded in frames and bytes.
// Several goroutines push, one pops. Its lock is this port's own.
type queue struct {
	depth atomic.Int64 // bytes, for those who only look

	mu       sync.Mutex // guards all following fields
	ring     []*frame
	head     int // index of the oldest
	count    int
	bytes    int
	maxBytes int
	closed   bool
}

func newQueue(frames, bytes int) *queue {
	return &queue{ring: make([]*frame, frames), maxBytes: bytes}
}

// push takes as many of frames as there is room for, in order, and returns how
// many. Those it took belong to the queue.
func (q *queue) push(frames []*frame) (taken int, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, true
	}
	for _, f := range frames {
		// An empty queue takes any frame, so that a limit in bytes below the
		// frame size does not stop a guest for good.
		if q.count == len(q.ring) || q.count > 0 && q.bytes+f.n > q.maxBytes {
			break
		}
		tail := q.head + q.count
		if tail >= len(q.ring) {
			tail -= len(q.ring)
		}
		q.ring[tail] = f
		q.count++
		q.bytes += f.n
		taken++
	}
	q.depth.Store(int64(q.bytes))
	return taken, false
}

// pop moves the oldest frames into dst and returns how many. They belong to the
// caller.
func (q *queue) pop(dst []*frame) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(dst), q.count)
	for i := range n {
		dst[i] = q.ring[q.head]
		q.ring[q.head] = nil
		q.bytes -= dst[i].n
		if q.head++; q.head == len(q.ring) {
			q.head = 0
		}
	}
	q.count -= n
	q.depth.Store(int64(q.bytes))
	return n
}

func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count == 0
}

// close gives all waiting frames back to pool and refuses later ones.
func (q *queue) close(pool *framePool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for ; q.count > 0; q.count-- {
		pool.put(q.ring[q.head])
		q.ring[q.head] = nil
		if q.head++; q.head == len(q.ring) {
			q.head = 0
		}
	}
	q.bytes = 0
	q.depth.Store(0)
}
