package relay

import (
	"bytes"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A rawAddr is the name of an AF_UNIX socket as the kernel gave it, to be given
// back unchanged.
type rawAddr struct {
	sa  unix.RawSockaddrUnix
	len uint32
}

// pathOffset is where the path begins in a sockaddr_un.
const pathOffset = unsafe.Offsetof(unix.RawSockaddrUnix{}.Path)

// path returns the bytes of the name after the family.
func (a *rawAddr) path() []byte {
	n := min(uintptr(a.len), unsafe.Sizeof(a.sa))
	if n <= pathOffset {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&a.sa.Path[0])), n-pathOffset)
}

// addrOf returns the address with the bytes of path as name; the zero one, which
// is not named, when they do not fit.
func addrOf(path string) (a rawAddr) {
	room := unsafe.Sizeof(a.sa) - pathOffset
	if path == "" || uintptr(len(path)) > room {
		return a
	}
	a.sa.Family = unix.AF_UNIX
	a.len = uint32(pathOffset) + uint32(len(path))
	setLen(&a)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&a.sa.Path[0])), room), path)
	return a
}

// named reports whether the socket has a name, so that it can be answered.
func (a *rawAddr) named() bool {
	p := a.path()
	// An abstract name (Linux, unix(7)) starts with a zero byte; on macOS an
	// unnamed socket may come as a path of zero bytes only.
	return len(bytes.TrimRight(p, "\x00")) > 0
}

func (a *rawAddr) equal(b *rawAddr) bool { return bytes.Equal(a.path(), b.path()) }

// sockaddr returns the name for unix.Connect.
func (a *rawAddr) sockaddr() unix.Sockaddr {
	p := a.path()
	if len(p) > 0 && p[0] == 0 {
		return &unix.SockaddrUnix{Name: "@" + string(p[1:])}
	}
	if i := bytes.IndexByte(p, 0); i >= 0 {
		p = p[:i]
	}
	return &unix.SockaddrUnix{Name: string(p)}
}

// alive reports whether a socket of that name is open: connecting to a name
// whose socket has closed is refused. A socket that is connected to another, as
// a peer's is to ours, answers EPERM (unix(7), connect(2)).
func (a *rawAddr) alive() bool {
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return true // not known; leave the peer alone
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, a.sockaddr())
	return err != unix.ECONNREFUSED && err != unix.ENOENT
}
