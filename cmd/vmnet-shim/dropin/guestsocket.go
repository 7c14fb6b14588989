package dropin

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// inheritGuest returns a descriptor at whose other end the guest is.
func inheritGuest(fd int) (*os.File, error) {
	if fd < 0 {
		return nil, fmt.Errorf("--fd %d: want a descriptor", fd)
	}
	if err := isDatagram(fd); err != nil {
		return nil, fmt.Errorf("--fd %d: %w: want one end of a datagram socketpair", fd, err)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "frames"), nil
}

// hasPeer reports whether a socket is one of a pair, or connected.
func hasPeer(fd int) bool {
	_, err := unix.Getpeername(fd)
	return err == nil
}

// bindGuest makes the datagram socket to which guests send. The user on whose
// behalf sudo runs this process may send too.
func bindGuest(path string) (*os.File, error) {
	if err := clearStale("unixgram", path); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), path)
	old := unix.Umask(0o177)
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	unix.Umask(old)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--socket %s: %w", path, err), f.Close())
	}
	if uid, gid := sudoOwner(); uid >= 0 {
		if err := os.Lchown(path, uid, gid); err != nil {
			return nil, errors.Join(err, os.Remove(path), f.Close())
		}
	}
	return f, nil
}
