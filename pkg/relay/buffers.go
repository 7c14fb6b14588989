package relay

import "github.com/vmnet-cni/vmnet/pkg/vmnet"

// Batches: long enough to spread the cost of a system call, short enough to
// keep a batch in the processor's cache and, with frames of 64 KiB, in 1 MiB.
const (
	maxBatch   = 64
	minBatch   = 16
	batchBytes = 256 << 10
)

// BatchLen returns how many frames of at most maxFrame bytes are moved at once:
// 64 up to 4 KiB, 16 from 16 KiB on.
func BatchLen(maxFrame int) int {
	return min(maxBatch, max(minBatch, batchBytes/max(maxFrame, 1)))
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
