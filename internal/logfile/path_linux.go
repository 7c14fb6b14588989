package logfile

import (
	"fmt"
	"os"
)

// pathOf returns a path by which an open file can be opened (proc(5), /proc/pid/fd).
func pathOf(f *os.File) (path string, err error) {
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { path = fmt.Sprintf("/proc/self/fd/%d", fd) })
	}
	return path, err
}
