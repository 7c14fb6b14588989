//go:build !linux

package dropin

import "golang.org/x/sys/unix"

// hangUpEvents are those of poll(2) that tell of a stream's end: POLLHUP comes
// unasked.
const hangUpEvents = 0

// unconnect dissolves a datagram socket's connection: connect(2) of macOS does it
// when the address is invalid, and says so with an error.
func unconnect(fd int) error {
	_ = unix.Connect(fd, &unix.SockaddrUnix{Name: ""})
	return nil
}
