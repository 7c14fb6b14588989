package relay

// A queue holds frames that are early for a limit, in a ring of buffers. Frames
// can be read into it in place. One goroutine at a time may use it.
type queue struct {
	gap         int      // bytes before each buffer that belong to its frame
	full        [][]byte // nil until a frame comes
	bufs        [][]byte // full without the gap
	sizes       []int
	frames      [][]byte // frames[i] is what full[i] holds
	head, count int
	most        int // frames; some buffers are always free
	bytes       int
	limit       int // bytes
}

// open makes room for frames of at most size bytes that wait for b, with gap bytes
// before each.
func (q *queue) open(b *bucket, size, gap int) {
	if q.bufs != nil {
		return
	}
	q.limit = b.queued(size)
	// Four times as many as large frames need: small ones are many.
	n := min(max(4*q.limit/1514, minSlots), maxSlots, max(slotBytes/size, minBatch)) + spareSlots
	q.full, q.sizes, q.frames = NewBuffers(n, gap+size), make([]int, n), make([][]byte, n)
	q.gap, q.bufs = gap, behind(q.full, gap)
	q.most = n - spareSlots
}

// room returns buffers for the next frames, at least one.
func (q *queue) room() ([][]byte, []int) {
	n := len(q.bufs)
	at := (q.head + q.count) % n
	end := min(n, at+n-q.count)
	return q.bufs[at:end], q.sizes[at:end]
}

// add says that the first n buffers of room were filled, and returns how many of
// the frames are too many and dropped.
func (q *queue) add(n int) (dropped int) {
	at := (q.head + q.count) % len(q.bufs)
	for i := at; i < at+n; i++ {
		size := q.sizes[i]
		if q.tooMuch(size) {
			dropped++
			continue
		}
		to := i - dropped
		q.full[to], q.full[i] = q.full[i], q.full[to]
		q.bufs[to], q.bufs[i] = q.full[to][q.gap:], q.full[i][q.gap:]
		q.took(to, size)
	}
	return dropped
}

func (q *queue) tooMuch(size int) bool { return q.count >= q.most || q.bytes+size > q.limit }

func (q *queue) took(i, size int) {
	q.frames[i] = q.full[i][:q.gap+size]
	q.count++
	q.bytes += q.gap + size
}

// waiting returns the oldest frames, up to the end of the ring.
func (q *queue) waiting() [][]byte { return q.frames[q.head:min(len(q.bufs), q.head+q.count)] }

// done takes the n oldest frames, which waiting returned, away.
func (q *queue) done(n int) {
	for _, f := range q.frames[q.head : q.head+n] {
		q.bytes -= len(f)
	}
	q.head = (q.head + n) % len(q.bufs)
	if q.count -= n; q.count == 0 {
		q.head = 0 // the first buffers are in the processor's cache
	}
}
