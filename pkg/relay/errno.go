package relay

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// gone reports whether a send or receive failed because nobody is at the other
// end. Linux says ECONNREFUSED for a datagram peer that has closed, and ENOTCONN
// from then on (unix_dgram_sendmsg disconnects the socket), ENOENT when the
// peer's name is no longer there; macOS says ECONNRESET, EDESTADDRREQ or ENOTCONN
// (uipc_send).
func gone(e syscall.Errno) bool {
	switch e {
	case unix.ECONNREFUSED, unix.ECONNRESET, unix.ENOTCONN, unix.EPIPE, unix.ENOENT, unix.EDESTADDRREQ:
		return true
	}
	return false
}

// full reports whether a send failed because there is no room now. macOS says
// ENOBUFS for a datagram socket whose peer's queue is full; Linux says it when
// memory is short.
func full(e syscall.Errno) bool {
	return e == unix.EAGAIN || e == unix.ENOBUFS || e == unix.ENOMEM
}

// tooLong reports whether a send failed because of this one datagram's length.
func tooLong(e syscall.Errno) bool { return e == unix.EMSGSIZE }
