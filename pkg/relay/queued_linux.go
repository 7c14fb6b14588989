package relay

import "golang.org/x/sys/unix"

// queuedIn asks the kernel; what it does not tell is 0.
func queuedIn(fd int) (in, out int) {
	in, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	if err != nil {
		in = 0
	}
	if out, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ); err != nil {
		out = 0
	}
	return in, out
}
