package relay

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendFlags are the flags of every send.
const sendFlags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL

// hungUp are the events of poll(2) by which a stream's peer is known to be gone.
const hungUp = unix.POLLRDHUP | unix.POLLHUP | unix.POLLERR

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// mmsgIO is receiver and sender with recvmmsg(2) and sendmmsg(2). An object
// serves one direction of one goroutine at a time; it keeps pointers to the last
// batch's memory until the next.
type mmsgIO struct {
	names bool
	hdrs  []mmsghdr
	iovs  []unix.Iovec
}

func newMmsgIO(batch int, names bool) *mmsgIO {
	m := &mmsgIO{names: names, hdrs: make([]mmsghdr, batch), iovs: make([]unix.Iovec, batch)}
	for i := range m.hdrs {
		m.hdrs[i].hdr.Iov = &m.iovs[i]
		m.hdrs[i].hdr.SetIovlen(1)
	}
	return m
}

func (m *mmsgIO) recv(fd int, bufs [][]byte, got []received, wait bool) (int, syscall.Errno) {
	bufs = m.point(bufs)
	for i := range bufs {
		if m.names {
			m.hdrs[i].hdr.Name = (*byte)(unsafe.Pointer(&got[i].from.sa))
			m.hdrs[i].hdr.Namelen = uint32(unsafe.Sizeof(got[i].from.sa))
		}
	}
	flags := unix.MSG_DONTWAIT
	if wait {
		flags = unix.MSG_WAITFORONE
	}
	n, e := m.call(unix.SYS_RECVMMSG, fd, len(bufs), flags)
	for i := range n {
		h := &m.hdrs[i]
		got[i].from.len = h.hdr.Namelen
		got[i].size = int(h.len)
		if h.hdr.Flags&unix.MSG_TRUNC != 0 {
			got[i].size = max(int(h.len), len(bufs[i])+1)
		}
	}
	return n, e
}

func (m *mmsgIO) send(fd int, frames [][]byte, to *rawAddr, wait bool) (int, syscall.Errno) {
	flags := sendFlags
	if wait {
		flags &^= unix.MSG_DONTWAIT
		frames = frames[:min(len(frames), blockingBatch)]
	}
	frames = m.point(frames)
	for i := range frames {
		h := &m.hdrs[i].hdr
		if to == nil {
			h.Name, h.Namelen = nil, 0
		} else {
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&to.sa)), to.len
		}
	}
	return m.call(unix.SYS_SENDMMSG, fd, len(frames), flags)
}

// point makes the vectors point at bufs, cut to the longest batch.
func (m *mmsgIO) point(bufs [][]byte) [][]byte {
	bufs = bufs[:min(len(bufs), len(m.hdrs))]
	for i, b := range bufs {
		m.iovs[i].Base = unsafe.SliceData(b)
		m.iovs[i].SetLen(len(b))
	}
	return bufs
}

func (m *mmsgIO) call(trap uintptr, fd, n, flags int) (int, syscall.Errno) {
	if n == 0 {
		return 0, 0
	}
	for tries := 0; ; {
		r, _, e := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&m.hdrs[0])), uintptr(n), uintptr(flags), 0, 0)
		if e == 0 {
			return int(r), 0
		}
		if e, more := again(e, flags, &tries); !more {
			return 0, e
		}
	}
}

// newReceiver returns the best receiver of the system; plain asks for the one
// that works everywhere.
func newReceiver(batch int, names, plain bool) receiver {
	if plain {
		return &plainIO{names: names}
	}
	return newMmsgIO(batch, names)
}

// newSender is newReceiver for the other direction.
func newSender(batch int, plain bool) sender {
	if plain {
		return &plainIO{}
	}
	return newMmsgIO(batch, false)
}
