package relay

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// putPrefix writes the length of a frame in front of it.
func putPrefix(b []byte, size int) int {
	binary.BigEndian.PutUint32(b, uint32(size))
	return prefixLen
}

// A vector writes many frames and their prefixes with one sendmsg(2), without
// copying them together. sendmsg and not writev, which knows no MSG_NOSIGNAL.
type vector struct {
	hdr      unix.Msghdr
	iovs     []unix.Iovec // two for each frame; at most IOV_MAX = 1024 (limits.h)
	prefixes [][prefixLen]byte
	room     room
}

func (v *vector) init(batch int) {
	v.iovs = make([]unix.Iovec, 2*batch)
	v.prefixes = make([][prefixLen]byte, batch)
}

// send sends frames from byte off of the first on, its prefix counted, and
// returns how many bytes were taken.
func (v *vector) send(fd int, frames [][]byte, off int) (int, syscall.Errno) {
	frames = frames[:min(len(frames), len(v.prefixes))]
	if frames = v.room.fitting(fd, frames, off); len(frames) == 0 {
		return 0, unix.EAGAIN
	}
	for i, f := range frames {
		p := v.prefixes[i][:]
		putPrefix(p, len(f))
		if i == 0 {
			f = f[max(off-prefixLen, 0):]
			p = p[min(off, prefixLen):]
		}
		v.set(2*i, p)
		v.set(2*i+1, f)
	}
	return v.call(fd, 2*len(frames))
}

// sendBytes sends b as it is.
func (v *vector) sendBytes(fd int, b []byte) (int, syscall.Errno) {
	v.room.forget()
	v.set(0, b)
	return v.call(fd, 1)
}

func (v *vector) set(i int, b []byte) {
	v.iovs[i].Base = unsafe.SliceData(b)
	v.iovs[i].SetLen(len(b))
}

func (v *vector) call(fd, n int) (int, syscall.Errno) {
	v.hdr.Iov = &v.iovs[0]
	v.hdr.SetIovlen(n)
	return call(unix.SYS_SENDMSG, fd, &v.hdr, sendFlags)
}
