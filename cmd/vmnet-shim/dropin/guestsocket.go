package dropin

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A guestSocket is where vmnet-helper's guest is.
type guestSocket interface {
	// ready reports whether there is a guest that has not been given away, and
	// makes file ready to be given.
	ready() (bool, error)
	// file is a datagram socket that is connected to the guest.
	file() *os.File
	// given tells that the shim has file, lost that it has not any more.
	given()
	lost()
	close()
}

// An inherited guest is at the other end of a descriptor.
type inherited struct {
	f   *os.File
	has bool // the shim has it
}

func inheritGuest(fd int) (guestSocket, error) {
	if fd < 0 {
		return nil, fmt.Errorf("--fd %d: want a descriptor", fd)
	}
	if err := isDatagram(fd); err != nil {
		return nil, fmt.Errorf("--fd %d: %w: want one end of a datagram socketpair", fd, err)
	}
	unix.CloseOnExec(fd)
	return &inherited{f: os.NewFile(uintptr(fd), "frames")}, nil
}

func (g *inherited) ready() (bool, error) { return !g.has, nil }
func (g *inherited) file() *os.File       { return g.f }
func (g *inherited) given()               { g.has = true }
func (g *inherited) close()               { _ = g.f.Close() }

// lost has the descriptor given again, which helps when the shim was started anew,
// and does no harm when the guest has gone.
func (g *inherited) lost() { g.has = false }

// A bound guest is whoever sends to a path, one after the other. The socket is
// connected to the guest while there is one.
type bound struct {
	f    *os.File
	fd   int
	path string
	has  bool
	peer bool
}

func bindGuest(path string) (guestSocket, error) {
	if err := clearStale("unixgram", path); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	old := unix.Umask(0o177)
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	unix.Umask(old)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("--socket %s: %w", path, err)
	}
	g := &bound{f: os.NewFile(uintptr(fd), "frames"), fd: fd, path: path}
	if uid, gid := sudoOwner(); uid >= 0 {
		if err := os.Lchown(path, uid, gid); err != nil {
			g.close()
			return nil, err
		}
	}
	return g, nil
}

// greeting is what vfkit sends first; it is no frame.
var greeting = []byte("VFKT")

// ready looks at the first datagram of a guest, without taking it, to learn who
// sends. What cannot be answered is taken and forgotten.
func (g *bound) ready() (bool, error) {
	if g.has || g.peer {
		return !g.has, nil
	}
	buf := make([]byte, 64)
	for range 64 { // at most; the rest waits for the next call
		n, from, err := unix.Recvfrom(g.fd, buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNREFUSED) {
			return false, nil
		}
		if err != nil {
			return false, os.NewSyscallError("recvfrom", err)
		}
		sa, ok := from.(*unix.SockaddrUnix)
		if ok && sa.Name != "" {
			if !filepath.IsAbs(sa.Name) && sa.Name[0] != '@' {
				sa.Name = filepath.Clean(sa.Name) // relative to where this process runs, as ever
			}
			if unix.Connect(g.fd, sa) == nil {
				if bytes.Equal(buf[:n], greeting) {
					_, _, _ = unix.Recvfrom(g.fd, buf, unix.MSG_DONTWAIT)
				}
				g.peer = true
				return true, nil
			}
		}
		_, _, _ = unix.Recvfrom(g.fd, buf, unix.MSG_DONTWAIT) // its sender has gone, or has no name
	}
	return false, nil
}

func (g *bound) file() *os.File { return g.f }
func (g *bound) given()         { g.has = true }

// lost makes room for the next guest.
func (g *bound) lost() {
	if g.has && disconnect(g.fd) == nil {
		g.has, g.peer = false, false
	}
}

func (g *bound) close() {
	_ = os.Remove(g.path)
	_ = g.f.Close()
}
