package relay

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// msghdrX is struct msghdr_x of macOS's recvmsg_x and sendmsg_x (xnu,
// bsd/sys/socket_private.h): 56 bytes on 64-bit machines. Names and control data are
// not supported, msgFlags and dataLen must be zero before a call.
type msghdrX struct {
	name       *byte
	nameLen    uint32
	_          [4]byte
	iov        *unix.Iovec
	iovLen     int32
	_          [4]byte
	control    *byte
	controlLen uint32
	flags      int32
	dataLen    uint64 // set by a call: the bytes moved
}

// A batchX is the arguments of recvmsg_x or sendmsg_x: made once, one iovec for each
// message.
type batchX struct {
	hdrs []msghdrX
	iovs []unix.Iovec
}

func newBatchX(n int) *batchX {
	b := &batchX{hdrs: make([]msghdrX, n), iovs: make([]unix.Iovec, n)}
	for i := range b.hdrs {
		b.hdrs[i].iov, b.hdrs[i].iovLen = &b.iovs[i], 1
	}
	return b
}

// point makes the vectors point at bufs, cut to the longest batch.
func (b *batchX) point(bufs [][]byte) [][]byte {
	bufs = bufs[:min(len(bufs), len(b.hdrs))]
	for i, buf := range bufs {
		b.iovs[i].Base = unsafe.SliceData(buf)
		b.iovs[i].SetLen(len(buf))
		b.hdrs[i].flags, b.hdrs[i].dataLen = 0, 0
	}
	return bufs
}

// took notes what a call received into the first n buffers. One that was cut is told
// as longer than its buffer.
func (b *batchX) took(n int, bufs [][]byte, got []received) {
	for i := range n {
		h := &b.hdrs[i]
		got[i].size = int(min(h.dataLen, uint64(len(bufs[i]))))
		if h.dataLen > uint64(len(bufs[i])) || h.flags&unix.MSG_TRUNC != 0 {
			got[i].size = len(bufs[i]) + 1
		}
	}
}
