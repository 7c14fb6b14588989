package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeInherited closes every descriptor above 2 that this process did not make
// itself, but for those that keep reports true for. Whoever started the plugin may have left pipes open in
// it, and waits until nobody holds them; a shim stays for long. What Go opens is
// close-on-exec, what came through exec is not, and so they are told apart.
func closeInherited(keep func(fd int) bool) error {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 || keep(fd) {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd) // it was not ours; nobody is waiting for a fault of it
		}
	}
	return nil
}
