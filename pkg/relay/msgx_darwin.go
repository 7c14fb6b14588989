package relay

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls that move many datagrams at once (xnu, bsd/kern/syscalls.master; not
// in the public headers). They serve connected sockets.
const (
	sysRecvmsgX = 480
	sysSendmsgX = 481
)

// msgxIO is receiver and sender with recvmsg_x and sendmsg_x. Its first call is the
// probe: where the system refuses it, every call is plainIO's from then on. An object
// serves one direction of one goroutine at a time.
type msgxIO struct {
	*batchX
	plain   plainIO
	refused bool
}

func (m *msgxIO) recv(fd int, bufs [][]byte, got []received, wait bool) (int, syscall.Errno) {
	if m.refused || wait {
		return m.plain.recv(fd, bufs, got, wait)
	}
	bufs = m.point(bufs)
	n, e := m.call(sysRecvmsgX, fd, len(bufs))
	if m.refuses(e) {
		return m.plain.recv(fd, bufs, got, wait)
	}
	m.took(n, bufs, got)
	return n, e
}

func (m *msgxIO) send(fd int, frames [][]byte, to *rawAddr, wait bool) (int, syscall.Errno) {
	if m.refused || wait || to != nil {
		return m.plain.send(fd, frames, to, wait)
	}
	frames = m.point(frames)
	n, e := m.call(sysSendmsgX, fd, len(frames))
	if m.refuses(e) {
		return m.plain.send(fd, frames, to, wait)
	}
	return n, e
}

// refuses reports whether e says that there is no such call for this socket; when it
// was about the messages, plainIO says so again.
func (m *msgxIO) refuses(e syscall.Errno) bool {
	switch e {
	case unix.ENOSYS, unix.EOPNOTSUPP, unix.EINVAL, unix.EPERM:
		m.refused = true
		m.batchX = nil
	}
	return m.refused
}

func (m *msgxIO) call(trap uintptr, fd, n int) (int, syscall.Errno) {
	if n == 0 {
		return 0, 0
	}
	for {
		r, _, e := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&m.hdrs[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
		if e == 0 && r == 0 {
			return 0, unix.EAGAIN // nothing moved, and no reason: as good as that
		}
		if e == 0 {
			return int(r), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// newReceiver returns the best receiver of the system; plain asks for the one that
// works everywhere. recvmsg_x does not tell names.
func newReceiver(batch int, names, plain bool) receiver {
	if plain || names {
		return &plainIO{names: names}
	}
	return &msgxIO{batchX: newBatchX(batch)}
}

// newSender is newReceiver for the other direction.
func newSender(batch int, plain bool) sender {
	if plain {
		return &plainIO{}
	}
	return &msgxIO{batchX: newBatchX(batch)}
}
