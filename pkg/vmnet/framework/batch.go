package framework

import (
	"structs"
	"unsafe"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// pktDesc is struct vmpktdesc of <vmnet/vmnet.h>, 24 bytes.
type pktDesc struct {
	_      structs.HostLayout
	size   uintptr // vm_pkt_size: the frame's length, on read first the buffer's
	iov    *iovec  // vm_pkt_iov
	iovcnt uint32  // vm_pkt_iovcnt: 1; more has been seen to give InvalidArgument
	flags  uint32  // vm_flags: 0
}

// iovec is struct iovec of <sys/uio.h>, 16 bytes.
type iovec struct {
	_    structs.HostLayout
	base *byte
	len  uintptr
}

const (
	// defaultPackets is the batch limit where the framework does not tell its own
	// (before macOS 15).
	defaultPackets = 200
	// usefulPackets is the longest batch that pays (measured by vmnet-helper).
	usefulPackets = 128
	// batchBytes is how much one call should move (Apple's documentation of
	// vmnet), and offloadPackets how many frames of 64 KiB it has been seen to
	// move nevertheless (vmnet-helper).
	batchBytes     = 256 << 10
	offloadPackets = 16
	// virtioHeaderLen is the length of the virtio_net_hdr before a frame.
	virtioHeaderLen = 12
)

// batchLen returns the longest batch worth passing: limit is what the framework
// told (0: nothing), size the largest frame in bytes.
func batchLen(limit uint64, size int) int {
	if limit == 0 {
		limit = defaultPackets
	}
	n := min(usefulPackets, max(offloadPackets, batchBytes/max(size, 1)))
	return int(min(limit, uint64(n)))
}

// A batch is the memory of one direction of a device that C reads and writes:
// one descriptor and one iovec for each frame, made once. Its pointers are typed,
// so that the garbage collector follows them to the caller's buffers.
type batch struct {
	descs []pktDesc
	iovs  []iovec
	count int32      // the `int *pktcnt` of vmnet_read and vmnet_write
	args  [3]uintptr // of purego.SyscallN: a slice that is there already is not allocated
}

func newBatch(n int) *batch {
	b := &batch{descs: make([]pktDesc, n), iovs: make([]iovec, n)}
	for i := range b.descs {
		b.descs[i].iov, b.descs[i].iovcnt = &b.iovs[i], 1
	}
	return b
}

// load points the descriptors at the buffers. It is done before every call, for
// vmnet_read leaves the lengths of the frames behind. vmnet_write wants iov_len to
// be vm_pkt_size.
func (b *batch) load(bufs [][]byte) {
	for i, buf := range bufs {
		d, v := &b.descs[i], &b.iovs[i]
		d.size, d.iovcnt, d.flags = uintptr(len(buf)), 1, 0
		v.base, v.len = unsafe.SliceData(buf), uintptr(len(buf))
	}
	b.count = int32(len(bufs))
}

// drop forgets the caller's buffers.
func (b *batch) drop() { clear(b.iovs) }

// sendable returns how many frames at the front of a batch may be sent, and why
// the next one may not. One bad frame would fail the whole call.
func sendable(frames [][]byte, info *vmnet.Info, header int) (int, error) {
	for i, f := range frames {
		if len(f) > info.MaxPacketSize {
			return i, invalidFrame(f, vmnet.PacketTooBig)
		}
		if len(f) < header+vmnet.HeaderLen {
			return i, invalidFrame(f, vmnet.InvalidArgument)
		}
	}
	return len(frames), nil
}
