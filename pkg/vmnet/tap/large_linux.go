package tap

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/segments"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A large moves frames over a tap with a virtio-net header whose other side is the
// kernel's bridge: large TCP segments cross it in one system call, cut into frames
// on the way to the guest and joined on the way from it.
type large struct {
	readMu sync.Mutex // guards all following
	cut    segments.Cutter
	packet []byte // what was read last; nil until the first read

	writeMu sync.Mutex // guards all following
	join    segments.Joiner
	iovs    [1 + maxBatch]unix.Iovec // a head, and the payload of each frame
	alone   bool                     // the kernel refused a large segment: there are no more
}

// offerLarge sets the header up and offers the kernel large segments.
func offerLarge(fd int) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, segments.Len); err != nil {
		return os.NewSyscallError("ioctl TUNSETVNETHDRSZ", err)
	}
	_ = segments.Offer(fd) // without, frames come as they are
	return nil
}

// readOne reads one frame into b.
func (d *device) readOne(b []byte) (int, error) {
	if d.direct || d.file == nil {
		return 0, vmnet.ErrNoPackets
	}
	if d.pass > 0 {
		return d.readWhole(b)
	}
	l := &d.large
	for {
		if n, ok := l.cut.Next(b); ok {
			if n < vmnet.HeaderLen {
				continue // the kernel sends none; what is shorter is no frame
			}
			return n, nil
		}
		n, err := d.readPacket()
		if err != nil {
			return 0, err
		}
		_ = l.cut.Start(l.packet[:n], len(b)) // what cannot be, or is too long, has no frames
	}
}

// readPacket reads what comes next into large.packet, with a header before it.
func (d *device) readPacket() (int, error) {
	l := &d.large
	if l.packet == nil {
		l.packet = make([]byte, segments.MaxPacket)
	}
	into, head := l.packet, 0
	if !d.header {
		head = segments.Len
		clear(into[:head])
		into = into[head:]
	}
	for {
		n, err := unix.Read(d.fd, into)
		switch {
		case err == nil:
			return head + n, nil
		case errors.Is(err, unix.EAGAIN):
			return 0, vmnet.ErrNoPackets
		case errors.Is(err, unix.EINTR):
		default:
			return 0, fmt.Errorf("read %s: %w", d.name, err)
		}
	}
}

// writeSome writes one packet of one or more of frames, which have a length that can
// be, and returns how many.
func (d *device) writeSome(frames [][]byte) (int, error) {
	if d.pass > 0 {
		return d.writeWhole(frames[0])
	}
	l := &d.large
	if l.alone || !d.header {
		frames = frames[:1]
	}
	n := l.join.Join(frames)
	head, skip := l.join.Head(), l.join.Skip()
	if !d.header {
		head = nil
	}
	l.iovs[0].Base = unsafe.SliceData(head)
	l.iovs[0].SetLen(len(head))
	for i, f := range frames[:n] {
		l.iovs[1+i].Base = unsafe.SliceData(f[skip:])
		l.iovs[1+i].SetLen(len(f) - skip)
	}
	for {
		_, _, e := unix.Syscall(unix.SYS_WRITEV, uintptr(d.fd), uintptr(unsafe.Pointer(&l.iovs[0])), uintptr(1+n))
		switch {
		case e == 0:
			return n, nil
		case e == unix.EINTR:
		case e == unix.EAGAIN, e == unix.ENOBUFS, e == unix.ENOMEM:
			return 0, vmnet.BufferExhausted
		case e == unix.EINVAL && n > 1:
			l.alone = true
			return 0, nil
		default:
			return 0, fmt.Errorf("write %s: %w", d.name, e)
		}
	}
}
