package handover

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Inherited returns the frame fd that a parent left open as number fd, 3 for a
// command that "vmnet-shim run" started. It checks that the descriptor is one of
// the known kinds, and makes it close-on-exec.
//
// The file is the caller's and owns the descriptor, so call it once for each
// number. When it fails the descriptor is left as it was.
func Inherited(fd uintptr) (*os.File, error) {
	if _, err := kindOf(int(fd)); err != nil {
		return nil, fmt.Errorf("inherit fd %d: %w", fd, err)
	}
	unix.CloseOnExec(int(fd))
	return os.NewFile(fd, fmt.Sprintf("frames:fd%d", fd)), nil
}

// Kind returns the kind of frame fd that f is: KindDgram, KindStream or KindTap, or
// KindNetNS.
// f stays the caller's.
func Kind(f *os.File) (kind string, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return "", err
	}
	cerr := raw.Control(func(fd uintptr) { kind, err = kindOf(int(fd)) })
	return kind, errors.Join(cerr, err)
}

// kindOf tells the kind of a descriptor from what it is, not from what anybody
// says about it.
func kindOf(fd int) (string, error) {
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if errors.Is(err, unix.ENOTSOCK) {
		if isTap(fd) {
			return KindTap, nil
		}
		if isNetNS(fd) {
			return KindNetNS, nil
		}
		return "", errors.New("neither a socket nor a tap interface")
	}
	if err != nil {
		return "", os.NewSyscallError("getsockopt SO_TYPE", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "", os.NewSyscallError("getsockname", err)
	}
	if _, ok := sa.(*unix.SockaddrUnix); !ok {
		return "", errors.New("a socket, but not of the unix domain")
	}
	switch typ {
	case unix.SOCK_DGRAM:
		return KindDgram, nil
	case unix.SOCK_STREAM:
		return KindStream, nil
	}
	return "", fmt.Errorf("a unix socket of type %d: want SOCK_DGRAM or SOCK_STREAM", typ)
}

// checkKind refuses a descriptor that is not what the message said.
func checkKind(fd int, want string) error {
	got, err := kindOf(fd)
	if err != nil {
		return fmt.Errorf("%w: kind %q, but the descriptor is %w", ErrProtocol, want, err)
	}
	if got != want {
		return fmt.Errorf("%w: kind %q, but the descriptor is of kind %q", ErrProtocol, want, got)
	}
	return nil
}
