package tap

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// readWhole reads a frame with its header, which is for our user, into b.
func (d *device) readWhole(b []byte) (int, error) {
	for {
		n, err := unix.Read(d.fd, b)
		switch {
		case err == nil && n < d.pass+vmnet.HeaderLen:
			continue // the kernel sends none; what is shorter is no frame
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EAGAIN):
			return 0, vmnet.ErrNoPackets
		case errors.Is(err, unix.EINTR):
		default:
			return 0, fmt.Errorf("read %s: %w", d.name, err)
		}
	}
}

// writeWhole writes a frame with its header, as our user made it.
func (d *device) writeWhole(f []byte) (int, error) {
	for {
		_, err := unix.Write(d.fd, f)
		switch {
		case err == nil:
			return 1, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			return 0, vmnet.BufferExhausted
		default:
			return 0, fmt.Errorf("write %s: %w", d.name, err)
		}
	}
}
