package relay

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// tapFlags are the flags of a tap (linux/if_tun.h) that change what is before a
// frame, or how many descriptors it has.
const tapFlags = unix.IFF_TUN | unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE

// A tapPort is a tap interface.
type tapPort struct {
	file   conn
	raw    syscall.RawConn
	max    int
	large  *tapLarge // nil: the tap has no header before its frames
	closed atomic.Bool
	once   sync.Once
	cerr   error
	drops  atomic.Pointer[drops] // where what is no frame is counted

	// Used by ReadBatch only.
	read  func(fd uintptr) bool // made once, so that a read allocates nothing
	bufs  [][]byte
	sizes []int
	n     int
	errn  syscall.Errno
	iov   [2]unix.Iovec
	spare [8]byte // where the end of a frame goes that is too long
	pace  pace

	writeMu sync.Mutex
	write   func(fd uintptr) // made once
	frames  [][]byte
	sent    int
	werrn   syscall.Errno
}

func newTapPort(f *os.File, maxFrame int) (Port, error) {
	if f == nil {
		return nil, fmt.Errorf("no file: %w", os.ErrInvalid)
	}
	defer f.Close()
	if maxFrame < vmnet.HeaderLen {
		return nil, fmt.Errorf("largest frame of %d bytes: want at least %d: %w", maxFrame, vmnet.HeaderLen, os.ErrInvalid)
	}
	own, header, err := ownTap(f)
	if err != nil {
		return nil, err
	}
	p := &tapPort{file: own, raw: own, max: maxFrame}
	p.drops.Store(new(drops))
	p.read, p.write = p.readSome, p.writeAll
	if header {
		p.large = newTapLarge(p)
		p.read, p.write = p.large.readSome, p.large.writeAll
	}
	return p, nil
}

// ownTap returns a duplicate of f, which must be a tap, and whether it has a header
// before its frames. The kernel is told then that large segments may come.
func ownTap(f *os.File) (own *watch, header bool, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, false, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var flags uint16
		if flags, err = tapIff(int(fd)); err != nil {
			return
		}
		header = flags&unix.IFF_VNET_HDR != 0
		if flags&tapFlags&^unix.IFF_VNET_HDR != unix.IFF_TAP|unix.IFF_NO_PI {
			err = fmt.Errorf("interface with flags %#x: want a tap of one queue without packet information, %#x: %w", flags&tapFlags, unix.IFF_TAP|unix.IFF_NO_PI, os.ErrInvalid)
			return
		}
		if header {
			err = setHeader(int(fd))
		}
		if err == nil {
			err = unix.SetNonblock(int(fd), true) // readv(2) has no flag for it
		}
		if err == nil {
			own, err = newWatch(int(fd))
		}
	})
	if cerr != nil {
		return nil, false, cerr
	}
	return own, header, err
}

// tapIff returns the flags of the interface that fd is attached to. What is no
// attached tun device fails with ENOTTY, EINVAL or EBADFD.
func tapIff(fd int) (uint16, error) {
	var req struct { // struct ifreq of netdevice(7)
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNGETIFF, uintptr(unsafe.Pointer(&req))); e != 0 {
		return 0, fmt.Errorf("not a tap: %w", os.NewSyscallError("ioctl TUNGETIFF", e))
	}
	return req.flags, nil
}

var _ accountant = (*tapPort)(nil)

// countInto implements accountant. A tap takes every frame at once, so that
// nothing waits.
func (p *tapPort) countInto(d *drops, _ time.Duration, _ *Threads) { p.drops.Store(d) }

// Kind implements Port.
func (p *tapPort) Kind() string { return KindTap }

// Close implements Port.
func (p *tapPort) Close() error {
	p.once.Do(func() {
		p.closed.Store(true)
		p.cerr = p.file.Close()
	})
	return p.cerr
}

// ReadBatch implements Port.
func (p *tapPort) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	for {
		p.bufs, p.sizes, p.n, p.errn = bufs, sizes, 0, 0
		err := p.raw.Read(p.read)
		p.bufs, p.sizes = nil, nil
		p.pace.end(p.n)
		switch {
		case p.n > 0:
			return p.n, nil
		case p.closed.Load():
			return 0, net.ErrClosed
		case err != nil, p.errn == unix.EBADFD:
			// The interface was deleted, or its namespace. Whoever reads is woken, since
			// EPOLLERR is always waited for (tun_chr_poll in linux/drivers/net/tun.c).
			return 0, io.EOF
		case p.errn != 0:
			return 0, os.NewSyscallError("readv", p.errn)
		}
	}
}

// readSome reads until nothing waits, as RawConn.Read wants it: false waits.
func (p *tapPort) readSome(fd uintptr) bool {
	for p.n < len(p.bufs) && !p.pace.enough(p.n) {
		b := p.bufs[p.n]
		b = b[:min(len(b), p.max)]
		p.iov[0].Base = unsafe.SliceData(b)
		p.iov[0].SetLen(len(b))
		p.iov[1].Base = &p.spare[0]
		p.iov[1].SetLen(len(p.spare))
		size, _, e := unix.Syscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(&p.iov[0])), uintptr(len(p.iov)))
		switch {
		case e == unix.EINTR:
		case e == unix.EAGAIN:
			return p.dry()
		case e != 0:
			p.errn = e
			return true
		default:
			p.took(b, int(size))
		}
	}
	return true
}

// dry is told that no frame waits, and says whether that ends the batch.
func (p *tapPort) dry() bool {
	if p.n == 0 {
		p.pace.waited = true
	}
	return p.n > 0
}

// took judges what was read into the next buffer, b: of a frame of size bytes as much
// as fits.
func (p *tapPort) took(b []byte, size int) {
	if why := judge(b[:min(size, len(b))], size, p.max); why != ReasonNone {
		p.drops.Load().add(why, 1)
		return
	}
	p.sizes[p.n] = size
	p.n++
}

// A pace saves the read that finds out that nothing waits: after a batch of one frame
// that was waited for, a frame that is waited for again is the batch.
type pace struct {
	lone   bool // the last batch was such a frame
	waited bool // this one was waited for
}

// enough reports whether n frames make a batch.
func (p *pace) enough(n int) bool { return n == 1 && p.lone && p.waited }

// end ends a batch of n frames.
func (p *pace) end(n int) { p.lone, p.waited = n == 1 && p.waited, false }

// WriteBatch implements Port.
func (p *tapPort) WriteBatch(frames [][]byte) (int, error) {
	p.writeMu.Lock()
	defer p.writeMu.Unlock()
	p.frames, p.sent, p.werrn = frames, 0, 0
	err := p.raw.Control(p.write)
	p.frames = nil
	switch {
	case p.sent == len(frames):
		return p.sent, nil
	case p.closed.Load():
		return p.sent, net.ErrClosed
	case err != nil:
		return p.sent, err
	case p.werrn == 0:
		return p.sent, ErrFrameSize
	case p.werrn == unix.EBADFD:
		return p.sent, ErrPeerGone
	case full(p.werrn), p.werrn == unix.EIO: // EIO: the interface is down
		return p.sent, ErrQueueFull
	}
	return p.sent, os.NewSyscallError("write", p.werrn)
}

func (p *tapPort) writeAll(fd uintptr) {
	for _, f := range p.frames {
		if len(f) < vmnet.HeaderLen || len(f) > p.max {
			return
		}
		for {
			_, _, e := unix.Syscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(f))), uintptr(len(f)))
			if e == unix.EINTR {
				continue
			}
			if e != 0 {
				p.werrn = e
				return
			}
			break
		}
		p.sent++
	}
}
