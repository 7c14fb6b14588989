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
type room struct {
	sndbuf int // bytes; 0: not asked yet
	left   int // bytes that there were at least after the last call
}

// fitting returns those of the first frames that the socket takes whole: a frame
// is never begun that does not fit. Otherwise a process that is killed between two
// calls could leave the first half of a frame in the socket, and whoever takes
// that over does not know which. Nobody but the one writer fills the queue, so
// what fits now fits in the call after this one, and the system is asked again only
// when what it said is used up.
func (r *room) fitting(fd int, frames [][]byte, off int) [][]byte {
	if off > 0 {
		r.forget()
		return frames // begun already, by a socket that is too small for one
	}
	n, cost := r.count(frames)
	if n < len(frames) {
		queued, err := r.ask(fd)
		if err != nil || r.sndbuf == 0 {
			return frames // TCP on a system that does not say; at worst a half is left
		}
		if n, cost = r.count(frames); n == 0 && queued == 0 {
			r.forget()
			return frames[:1] // it never has more room than now
		}
	}
	r.left -= cost
	return frames[:n]
}

// forget has the system asked the next time: something else was sent.
func (r *room) forget() { r.left = 0 }

// count returns how many of the first frames fit into what is left, and what they
// take of it.
func (r *room) count(frames [][]byte) (n, cost int) {
	sum := 0
	for i, f := range frames {
		sum += prefixLen + len(f)
		c := sum + (sum/partSize+1)*partCost
		if c > r.left {
			return i, cost
		}
		cost = c
	}
	return len(frames), cost
}

// ask asks the system what is left, and returns how much waits.
func (r *room) ask(fd int) (queued int, err error) {
	r.forget()
	if r.sndbuf == 0 {
		r.sndbuf, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	}
	if queued, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ); err == nil {
		r.left = r.sndbuf - queued
	}
	return queued, err
}
