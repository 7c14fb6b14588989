package dropin

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hangUpEvents are those of poll(2) that tell of a stream's end.
const hangUpEvents = unix.POLLRDHUP

// unconnect dissolves a datagram socket's connection (connect(2), AF_UNSPEC).
func unconnect(fd int) error {
	sa := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, e := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa.Family))
	if e != 0 {
		return e
	}
	return nil
}
