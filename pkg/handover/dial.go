package handover

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaxPath is how many bytes the path of a unix socket may have: macOS has 104
// with the terminating zero (sys/un.h), Linux 108.
const MaxPath = 103

// Dial connects to socketPath of a CNI result, whose kind is KindDgram or
// KindStream, and returns the frame fd. It is blocking and close-on-exec, and
// its buffers are set as Pair sets the guest's.
//
// A datagram socket needs an address of its own to be answered. On Linux the
// system chooses one that leaves no file, and which can be reached from the same
// network namespace only; elsewhere it is a file in os.TempDir that stays. Use
// DialFrom to choose it.
//
// The file is the caller's.
func Dial(path, kind string) (*os.File, error) {
	return DialFrom(defaultLocal(), path, kind)
}

// DialFrom is Dial with the path at which a datagram socket binds. The file
// there stays when the frame fd is closed; the caller removes it. local is not
// used for KindStream.
func DialFrom(local, path, kind string) (*os.File, error) {
	typ, err := socketType(kind)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", path, err)
	}
	for _, p := range []string{local, path} {
		if err := checkPath(p); err != nil && p != "" {
			return nil, fmt.Errorf("dial %s: %w", path, err)
		}
	}
	fd, err := newSocket(typ)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", path, os.NewSyscallError("socket", err))
	}
	bound := false
	err = func() error {
		if err := setGuestBuffers(fd); err != nil {
			return err
		}
		if kind == KindDgram {
			if err := unix.Bind(fd, &unix.SockaddrUnix{Name: local}); err != nil {
				return fmt.Errorf("bind %q: %w", local, err)
			}
			bound = local != ""
		}
		return connect(fd, path)
	}()
	if err != nil {
		_ = unix.Close(fd)
		if bound {
			_ = os.Remove(local)
		}
		return nil, fmt.Errorf("dial %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), "frames:"+path), nil
}

// connect retries after a signal: a blocking connect in the unix domain that was
// interrupted has not begun (it waits for room in the backlog only).
func connect(fd int, path string) error {
	for {
		err := unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// setGuestBuffers sets what Pair sets for the guest, as far as the system gives.
func setGuestBuffers(fd int) error {
	got, err := setBuffer(fd, receiveBuffer, queueBuffer, 1)
	if err != nil {
		return err
	}
	_, err = setBuffer(fd, sendBuffer, min(guestSendBuffer, got/receivePerSend/readBackFactor), 1)
	return err
}

func newSocket(typ int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(unix.AF_UNIX, typ, 0)
	if err == nil {
		unix.CloseOnExec(fd)
		noSIGPIPE(fd)
	}
	return fd, err
}

func checkPath(path string) error {
	switch {
	case path == "":
		return errors.New("path is empty")
	case len(path) > MaxPath:
		return fmt.Errorf("path of %d bytes: want at most %d, the size of a socket address", len(path), MaxPath)
	}
	return nil
}
