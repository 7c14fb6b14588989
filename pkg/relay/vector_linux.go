package relay

import "golang.org/x/sys/unix"

// What the kernel needs for a part of a stream (unix_stream_sendmsg in
// net/unix/af_unix.c): it makes buffers of at most 32 KiB and the rest of a page,
// and counts each with its bookkeeping.
const (
	partSize = 32 << 10 // bytes
	partCost = 8 << 10  // bytes, rounding of pages included
)

// A room is what fitting knows of the socket.
type room struct{ sndbuf int } // bytes; 0: not asked yet

// fitting returns those of the first frames that the socket takes whole: a frame
// is never begun that does not fit. Otherwise a process that is killed between two
// calls could leave the first half of a frame in the socket, and whoever takes
// that over does not know which. Nobody but the one writer fills the queue, so
// what fits now fits in the call after this one.
func (r *room) fitting(fd int, frames [][]byte, off int) [][]byte {
	if off > 0 {
		return frames // begun already, by a socket that is too small for one
	}
	if r.sndbuf == 0 {
		r.sndbuf, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	}
	queued, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil || r.sndbuf == 0 {
		return frames // TCP on a system that does not say; at worst a half is left
	}
	left, sum := r.sndbuf-queued, 0
	for i, f := range frames {
		sum += prefixLen + len(f)
		if sum+(sum/partSize+1)*partCost > left && (i > 0 || queued > 0) {
			return frames[:i]
		}
	}
	return frames
}
