package netstack

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// readReady waits until something can be read from a host socket, gets a buffer
// only then, and reads once. put takes the buffer back when nothing was read
// after all or the read failed; otherwise the caller still has it. It returns 0
// at the end of a stream and for an empty datagram.
func readReady(rc syscall.RawConn, get func() []byte, put func()) (n int, err error) {
	cerr := rc.Read(func(fd uintptr) bool {
		b := get()
		for {
			n, err = unix.Read(int(fd), b)
			if err != unix.EINTR {
				break
			}
		}
		if err != nil {
			n = 0
			put()
		}
		return err != unix.EAGAIN
	})
	if cerr != nil {
		return 0, cerr
	}
	return n, err
}

// sendNow sends one datagram on a connected host socket, without waiting.
func sendNow(rc syscall.RawConn, b []byte) (err error) {
	cerr := rc.Write(func(fd uintptr) bool {
		for {
			err = unix.Send(int(fd), b, 0)
			if err != unix.EINTR {
				return true
			}
		}
	})
	if cerr != nil {
		return cerr
	}
	return err
}
