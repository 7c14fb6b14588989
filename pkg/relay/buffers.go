package relay

import "github.com/vmnet-cni/vmnet/pkg/vmnet"

// Batches: long enough to spread the cost of a system call, short enough to
// keep a batch in the cache of a processor core: with 16 frames of 64 KiB instead of
// 4 a frame took a tenth more processor time.
const (
	maxBatch   = 64
	minBatch   = 4
	batchBytes = 256 << 10
)

// BatchLen returns how many frames of at most maxFrame bytes are moved at once:
// 64 up to 4 KiB, 4 from 64 KiB on.
func BatchLen(maxFrame int) int {
	return min(maxBatch, max(minBatch, batchBytes/max(maxFrame, 1)))
}

// quietBatch is BatchLen for a guest that has not shown yet that it needs more:
// most attachments are idle, and should cost little.
func quietBatch(maxFrame int) int { return max(2, min(8, 16<<10/max(maxFrame, 1))) }

// A bundle is buffers for a batch, short at first and long once a batch filled it.
type bundle struct {
	size, limit int // of a buffer in bytes; the longest batch
	gap         int // bytes before each buffer that belong to its frame
	full        [][]byte
	bufs        [][]byte // full without the gap
	sizes       []int
	frames      [][]byte
}

// reset gives the buffers back, and makes the next ones size bytes and at most
// limit many. What put returns begins gap bytes before them.
func (b *bundle) reset(size, limit, gap int) { *b = bundle{size: size, limit: limit, gap: gap} }

// get returns the buffers.
func (b *bundle) get() ([][]byte, []int) {
	if b.bufs == nil {
		b.make(min(quietBatch(b.size), b.limit))
	}
	return b.bufs, b.sizes
}

// put returns the first n buffers as the frames that they hold. They are valid
// until the next get.
func (b *bundle) put(n int) [][]byte {
	frames := b.frames[:n]
	for i := range frames {
		frames[i] = b.full[i][:b.gap+b.sizes[i]]
	}
	if n == len(b.bufs) && n < b.limit {
		b.make(b.limit)
	}
	return frames
}

func (b *bundle) make(n int) {
	b.full, b.sizes, b.frames = NewBuffers(n, b.gap+b.size), make([]int, n), make([][]byte, n)
	b.bufs = behind(b.full, b.gap)
}

// behind returns the buffers without their first gap bytes.
func behind(full [][]byte, gap int) [][]byte {
	if gap == 0 {
		return full
	}
	bufs := make([][]byte, len(full))
	for i, b := range full {
		bufs[i] = b[gap:]
	}
	return bufs
}

// NewBuffers returns n buffers of size bytes, as Port.ReadBatch and
// vmnet.Interface.ReadBatch want them. They are one piece of memory, so that a
// batch of a single frame touches no more of it than that frame needs.
func NewBuffers(n, size int) [][]byte {
	stride := (size + 63) &^ 63 // frames start on cache lines
	slab := make([]byte, n*stride)
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = slab[i*stride : i*stride+size : i*stride+size]
	}
	return bufs
}

// greeting is what vfkit sends first, to make itself known.
const greeting = "VFKT"

// judge returns why a message of the guest is not a frame, or ReasonNone. size
// is its length before it was cut to fit into a buffer.
func judge(msg []byte, size, maxFrame int) Reason {
	switch {
	case size > maxFrame:
		return ReasonTooBig
	case size >= vmnet.HeaderLen:
		return ReasonNone
	case string(msg) == greeting:
		return ReasonGreeting
	}
	return ReasonRunt
}
