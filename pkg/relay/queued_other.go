//go:build !linux

package relay

import "golang.org/x/sys/unix"

// fionread is FIONREAD (<sys/filio.h>: _IOR('f', 127, int)).
const fionread = 0x4004667f

// queuedIn asks the kernel; what it does not tell is 0.
func queuedIn(fd int) (in, out int) {
	in, err := unix.IoctlGetInt(fd, fionread)
	if err != nil {
		return 0, 0
	}
	return in, 0
}
