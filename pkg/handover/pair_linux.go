package handover

import "golang.org/x/sys/unix"

// readBackFactor is what getsockopt reports of the size that was set.
const readBackFactor = 2

// CAP_NET_ADMIN may go over the limits of the system (socket(7),
// SO_SNDBUFFORCE), whose defaults of 208 KiB are far below 4 MiB.
var (
	sendBuffer    = buffer{unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, "net.core.wmem_max"}
	receiveBuffer = buffer{unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, "net.core.rmem_max"}
)

// noSIGPIPE does nothing: Go's writes to sockets are immune on Linux, and other
// programs choose for themselves with MSG_NOSIGNAL.
func noSIGPIPE(int) {}
