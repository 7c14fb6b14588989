//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"testing"
	"unsafe"
)

func TestBatchLen(t *testing.T) {
	for _, c := range []struct {
		limit uint64
		size  int
		want  int
	}{
		{0, 1514, 128}, {256, 1514, 128}, {200, 1514, 128}, {64, 1514, 64}, {1, 1514, 1},
		{256, 9014, 29}, {256, 65550, 16}, {256, 65562, 16}, {8, 65550, 8}, {0, 0, 128},
	} {
		if got := batchLen(c.limit, c.size); got != c.want {
			t.Errorf("limit %d, frames of %d bytes: %d, want %d", c.limit, c.size, got, c.want)
		}
	}
}

// TestBatchLoad sees that nothing of an earlier call is left.
func TestBatchLoad(t *testing.T) {
	b := newBatch(3)
	bufs := [][]byte{make([]byte, 1514), make([]byte, 100), nil}
	for range 2 {
		b.load(bufs)
		if b.count != 3 {
			t.Errorf("count %d", b.count)
		}
		for i, buf := range bufs {
			d := &b.descs[i]
			if d.size != uintptr(len(buf)) || d.iov != &b.iovs[i] || d.iovcnt != 1 || d.flags != 0 ||
				b.iovs[i].base != unsafe.SliceData(buf) || b.iovs[i].len != uintptr(len(buf)) {
				t.Errorf("%d: %+v %+v", i, *d, b.iovs[i])
			}
			d.size, d.flags, b.iovs[i].len = 1, 2, 3 // as C leaves it
		}
		b.count = 1
	}
	b.drop()
	for i := range b.iovs {
		if b.iovs[i].base != nil {
			t.Errorf("%d: still points at the caller's buffer", i)
		}
	}
}
