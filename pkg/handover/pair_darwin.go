package handover

import "golang.org/x/sys/unix"

// readBackFactor is what getsockopt reports of the size that was set.
const readBackFactor = 1

var (
	sendBuffer    = buffer{unix.SO_SNDBUF, 0, "kern.ipc.maxsockbuf"}
	receiveBuffer = buffer{unix.SO_RCVBUF, 0, "kern.ipc.maxsockbuf"}
)

// noSIGPIPE keeps a write to a socket whose peer is gone from killing a program
// that is not written in Go. It cannot fail on a socket (setsockopt(2)).
func noSIGPIPE(fd int) { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NOSIGPIPE, 1) }
