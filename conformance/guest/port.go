package guest

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// OpenPort returns the port of a frame fd, whose type tells its framing: a socket, or
// a tap without a header before its frames. maxFrame is the largest frame in bytes.
// It owns f, also when it fails.
func OpenPort(f *os.File, maxFrame int) (relay.Port, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("frame fd: %w", err), f.Close())
	}
	var typ int
	var serr error
	err = raw.Control(func(fd uintptr) { typ, serr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE) })
	if err == nil && errors.Is(serr, unix.ENOTSOCK) {
		return relay.NewTapPort(f, maxFrame)
	}
	if err = errors.Join(err, serr); err != nil {
		return nil, errors.Join(fmt.Errorf("frame fd: %w", err), f.Close())
	}
	if typ == unix.SOCK_STREAM {
		return relay.NewStreamPort(f, maxFrame)
	}
	return relay.NewDatagramPort(f, maxFrame)
}

// DialPort connects to socketPath of a CNI result, of the kind "dgram" or
// "stream". A datagram socket says VFKT first, as vfkit does, which makes it
// known to the relay. remove takes away what stays in the file system; call it
// when the port is closed.
func DialPort(path, kind string, maxFrame int) (port relay.Port, remove func(), err error) {
	dir, err := os.MkdirTemp("", "vmnet-guest")
	if err != nil {
		return nil, nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	f, err := handover.DialFrom(dir+"/frames", path, kind)
	if err == nil && kind == handover.KindDgram {
		if _, err = f.Write([]byte("VFKT")); err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err == nil {
		port, err = OpenPort(f, maxFrame)
	}
	if err != nil {
		remove()
		return nil, nil, err
	}
	return port, remove, nil
}
