package relay

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A received tells of one datagram that a receiver moved.
type received struct {
	from rawAddr // its sender, when asked for
	size int     // its length; more than the buffer's when it was cut
}

// A receiver moves datagrams out of a socket, without blocking or, when wait is
// true, waiting for the first as long as the socket does. got is at least
// as long as bufs. It returns how many it moved, or why none. Where names is
// true the senders' names are noted.
type receiver interface {
	recv(fd int, bufs [][]byte, got []received, wait bool) (int, syscall.Errno)
}

// A sender moves datagrams into a socket, without blocking or, when wait is true,
// waiting for room as long as the socket does, for a few of them; to the name to or,
// when that is nil, to the peer. It returns how many it moved; when that is none,
// why. A zero-length one must not be among them: QEMU takes it for an end of file.
type sender interface {
	send(fd int, frames [][]byte, to *rawAddr, wait bool) (int, syscall.Errno)
}

// plainIO is receiver and sender with one system call for each datagram, for
// systems without more: recvmmsg and sendmmsg have their own (mmsg_linux.go), and so
// have recvmsg_x and sendmsg_x of macOS (msgx_darwin.go). An object serves one
// direction of one goroutine at a time.
type plainIO struct {
	names bool
	hdr   unix.Msghdr
	iov   unix.Iovec
}

func (p *plainIO) recv(fd int, bufs [][]byte, got []received, wait bool) (int, syscall.Errno) {
	flags := unix.MSG_DONTWAIT
	if wait {
		flags = 0
	}
	for n, b := range bufs {
		g := &got[n]
		p.hdr = unix.Msghdr{}
		p.point(b)
		if p.names {
			p.hdr.Name = (*byte)(unsafe.Pointer(&g.from.sa))
			p.hdr.Namelen = uint32(unsafe.Sizeof(g.from.sa))
		}
		size, e := call(unix.SYS_RECVMSG, fd, &p.hdr, flags)
		if e != 0 {
			return short(n, e)
		}
		flags = unix.MSG_DONTWAIT
		g.from.len = p.hdr.Namelen
		g.size = size
		if p.hdr.Flags&unix.MSG_TRUNC != 0 {
			g.size = max(size, len(b)+1)
		}
	}
	return len(bufs), 0
}

func (p *plainIO) send(fd int, frames [][]byte, to *rawAddr, wait bool) (int, syscall.Errno) {
	flags := sendFlags
	if wait {
		flags &^= unix.MSG_DONTWAIT
		frames = frames[:min(len(frames), blockingBatch)]
	}
	p.hdr = unix.Msghdr{}
	if to != nil {
		p.hdr.Name = (*byte)(unsafe.Pointer(&to.sa))
		p.hdr.Namelen = to.len
	}
	for n, f := range frames {
		p.point(f)
		if _, e := call(unix.SYS_SENDMSG, fd, &p.hdr, flags); e != 0 {
			return short(n, e)
		}
	}
	return len(frames), 0
}

// short ends a batch at an error: what was moved before it counts, and the error
// comes again with the next call.
func short(n int, e syscall.Errno) (int, syscall.Errno) {
	if n > 0 {
		return n, 0
	}
	return 0, e
}

func (p *plainIO) point(b []byte) {
	p.iov.Base = unsafe.SliceData(b)
	p.iov.SetLen(len(b))
	p.hdr.Iov = &p.iov
	p.hdr.SetIovlen(1)
}

// again says what becomes of a call that a signal ended: one that waits is made once
// more, and then is as good as one that has waited in vain (see heat).
func again(e syscall.Errno, flags int, tries *int) (syscall.Errno, bool) {
	if *tries++; e != unix.EINTR {
		return e, false
	}
	if flags&unix.MSG_DONTWAIT == 0 && *tries > 1 {
		return unix.EAGAIN, false
	}
	return e, true
}

// call does recvmsg(2) or sendmsg(2). The functions of package unix allocate for
// every message.
func call(trap uintptr, fd int, hdr *unix.Msghdr, flags int) (int, syscall.Errno) {
	for tries := 0; ; {
		n, _, e := unix.Syscall(trap, uintptr(fd), uintptr(unsafe.Pointer(hdr)), uintptr(flags))
		if e, more := again(e, flags, &tries); !more {
			return int(n), e
		}
	}
}

func callRecv(fd int, hdr *unix.Msghdr, flags int) (int, syscall.Errno) {
	return call(unix.SYS_RECVMSG, fd, hdr, flags)
}
