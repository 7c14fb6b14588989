package relay

import "time"

// Limits bound the rate of frames, each direction by itself. The zero value is no
// limit, and costs nothing.
type Limits struct {
	FromGuest, ToGuest Limit
}

// A Limit is a token bucket: what may pass in the long run, and how much at once
// after a pause. A frame counts with its Ethernet header, as Linux's tbf counts it.
type Limit struct {
	// Rate is in bits per second. Zero: no limit, whatever Burst says.
	Rate uint64
	// Burst is in bits. Less than what passes in 20 ms, or than two of the largest
	// frames, is taken as that much: a smaller bucket would not keep the rate on a
	// busy machine, where a wait of a millisecond may take ten.
	Burst uint64
}

// What frames over a limit wait.
const (
	// minDepth is the depth of a bucket in time, at least.
	minDepth = 20 * time.Millisecond
	// limitPause is how long a wait lasts: many frames share one.
	limitPause = time.Millisecond
	// limitWait is how long one frame of the guest waits before it is dropped.
	limitWait = 200 * time.Millisecond
	// queueTime is how much is queued to the guest, in time at the limit's rate; but
	// minQueued bytes at least, which TCP needs.
	queueTime = 100 * time.Millisecond
	minQueued = 32 * 1514
	// minSlots to maxSlots is how many frames the queue has room for, within
	// slotBytes of memory unless spareSlots more than minBatch need more.
	minSlots   = 64
	maxSlots   = 1024
	slotBytes  = 4 << 20
	spareSlots = 16
)

// A bucket lets frames pass at a rate. It is the virtual scheduling form of the
// generic cell rate algorithm (ITU-T I.371, annex A), which needs one number: when
// the bucket would be full again. One goroutine at a time may use it.
type bucket struct {
	start time.Time     // where the clock begins
	bit   float64       // nanoseconds for each bit
	depth time.Duration // of the bucket: how far full may be ahead of now
	full  time.Duration // when the bucket is full, since start
	skip  int           // bytes before each frame that do not count
}

// newBucket returns a full bucket, or nil when there is no limit. The first skip
// bytes of what it is shown are not the frame's.
func newBucket(l Limit, maxFrame, skip int) *bucket {
	if l.Rate == 0 {
		return nil
	}
	b := &bucket{start: time.Now(), bit: float64(time.Second) / float64(l.Rate), skip: skip}
	const most = float64(1 << 62) // more than a century: fits time.Duration
	depth := min(float64(l.Burst)*b.bit, most)
	b.depth = max(time.Duration(depth), minDepth, 2*b.cost(maxFrame))
	return b
}

// cost is the time that a frame of size bytes takes.
func (b *bucket) cost(size int) time.Duration { return time.Duration(float64(8*size) * b.bit) }

// now returns the time on the bucket's clock.
func (b *bucket) now() time.Duration { return time.Since(b.start) }

// fit pays for the frames that may pass now and returns how many they are. When
// not all may, wait is when the next one may.
func (b *bucket) fit(frames [][]byte) (n int, wait time.Duration) {
	now := b.now()
	full := max(b.full, now)
	for n < len(frames) {
		next := full + b.cost(len(frames[n])-b.skip)
		if wait = next - b.depth - now; wait > 0 {
			break
		}
		full = next
		n++
	}
	b.full = full
	return n, wait
}

// queued is how many bytes may wait for the bucket, in frames of at most size.
func (b *bucket) queued(size int) int {
	return max(int(min(float64(queueTime)/b.bit/8, maxSlots*MaxStreamFrame)), minQueued, 2*size)
}
