package relay

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/segments"
)

// A tapLarge moves large TCP segments over a tap that has a virtio-net header before
// its packets: up to 64 KiB of a connection in one system call. Its reader gets
// frames of the MTU, and gives such.
type tapLarge struct {
	p *tapPort

	// Used by ReadBatch only.
	cut    segments.Cutter
	packet []byte // what was read last; cut has parts of it
	busy   bool   // cut has frames left

	// Guarded by tapPort.writeMu.
	join  segments.Joiner
	iovs  []unix.Iovec // a head, and the payload of each frame
	alone bool         // the kernel refused a large segment: there are no more
}

func newTapLarge(p *tapPort) *tapLarge {
	return &tapLarge{p: p, packet: make([]byte, segments.MaxPacket), iovs: make([]unix.Iovec, 1+maxBatch)}
}

// setHeader has the kernel put a header of segments.Len bytes before its packets and
// tells it that large segments may come; a kernel that has none goes on as it was.
func setHeader(fd int) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, segments.Len); err != nil {
		return fmt.Errorf("tap with a virtio-net header: %w", os.NewSyscallError("ioctl TUNSETVNETHDRSZ", err))
	}
	_ = segments.Offer(fd)
	return nil
}

// readSome is tapPort.readSome: it reads until nothing waits.
func (l *tapLarge) readSome(fd uintptr) bool {
	p := l.p
	for {
		l.cutSome()
		if p.n == len(p.bufs) || p.pace.enough(p.n) {
			return true
		}
		size, _, e := unix.Syscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&l.packet[0])), uintptr(len(l.packet)))
		switch {
		case e == unix.EINTR:
		case e == unix.EAGAIN:
			return p.dry()
		case e != 0:
			p.errn = e
			return true
		default:
			l.start(l.packet[:size])
		}
	}
}

// start begins with the next packet.
func (l *tapLarge) start(packet []byte) {
	err := l.cut.Start(packet, l.p.max)
	l.busy = err == nil
	switch {
	case err == segments.ErrTooBig: //nolint:errorlint // Start returns it bare
		l.p.drops.Load().add(ReasonTooBig, 1)
	case err != nil:
		l.p.drops.Load().add(ReasonMalformed, 1)
	}
}

// cutSome makes frames of the packet as long as there are buffers.
func (l *tapLarge) cutSome() {
	for l.busy && l.p.n < len(l.p.bufs) {
		b := l.p.bufs[l.p.n]
		n, ok := l.cut.Next(b)
		if l.busy = ok; ok {
			l.p.took(b, n)
		}
	}
}

// writeAll is tapPort.writeAll.
func (l *tapLarge) writeAll(fd uintptr) {
	p := l.p
	for p.sent < len(p.frames) {
		good := sendable(p.frames[p.sent:], p.max)
		if good == 0 {
			return
		}
		for good > 0 && p.werrn == 0 {
			n := l.writeSome(fd, p.frames[p.sent:p.sent+good])
			p.sent += n
			good -= n
		}
		if p.werrn != 0 {
			return
		}
	}
}

// writeSome writes one packet, of one or more of frames, and returns how many.
func (l *tapLarge) writeSome(fd uintptr, frames [][]byte) int {
	frames = frames[:min(len(frames), maxBatch)]
	if l.alone {
		frames = frames[:1]
	}
	n := l.join.Join(frames)
	e := l.send(fd, frames[:n])
	if e == unix.EINVAL && n > 1 {
		l.alone = true
		return 0
	}
	if e != 0 {
		l.p.werrn = e
		return 0
	}
	return n
}

func (l *tapLarge) send(fd uintptr, frames [][]byte) syscall.Errno {
	head, skip := l.join.Head(), l.join.Skip()
	l.iovs[0].Base = unsafe.SliceData(head)
	l.iovs[0].SetLen(len(head))
	for i, f := range frames {
		l.iovs[1+i].Base = unsafe.SliceData(f[skip:])
		l.iovs[1+i].SetLen(len(f) - skip)
	}
	for {
		_, _, e := unix.Syscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&l.iovs[0])), uintptr(1+len(frames)))
		if e != unix.EINTR {
			return e
		}
	}
}
