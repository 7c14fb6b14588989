package logfile

import (
	"bytes"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pathOf returns a path by which an open file can be opened (fcntl(2), F_GETPATH).
func pathOf(f *os.File) (string, error) {
	var buf [unix.PathMax]byte
	raw, err := f.SyscallConn()
	if err != nil {
		return "", err
	}
	var ferr error
	err = raw.Control(func(fd uintptr) { _, ferr = unix.FcntlInt(fd, unix.F_GETPATH, int(uintptr(unsafe.Pointer(&buf[0])))) })
	if err == nil && ferr != nil {
		err = os.NewSyscallError("fcntl F_GETPATH", ferr)
	}
	path, _, _ := bytes.Cut(buf[:], []byte{0})
	return string(path), err
}
