package framework_test

import (
	"encoding/binary"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// A rawGuest is a guest as cheap as can be: one thread that blocks in sendmmsg(2)
// and recvmmsg(2) on the near end of a datagram socket, or in write(2) of a whole
// batch and read(2) of 512 KiB on that of a stream.
type rawGuest struct {
	file *os.File
	fd   int
	msgs []rawMsg

	out, in []byte // stream only
	size    int    // of a frame with its prefix
	at      int    // in out
	got     int    // bytes of a frame that has not come whole
}

type rawMsg struct {
	hdr unix.Msghdr
	len uint32
}

// newRawGuest takes over f.
func newRawGuest(b testing.TB, f *os.File, kind string, size int) *rawGuest {
	g := &rawGuest{file: f, fd: int(f.Fd()), msgs: make([]rawMsg, guestBatch(size))}
	limit := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(g.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		b.Fatal(err)
	}
	const prefix = 4
	for i, buf := range relay.NewBuffers(len(g.msgs), size) {
		copy(buf, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5})
		g.msgs[i].hdr.Iov = &unix.Iovec{Base: &buf[0], Len: uint64(size)}
		g.msgs[i].hdr.SetIovlen(1)
		if kind == handover.KindStream {
			g.out = append(binary.BigEndian.AppendUint32(g.out, uint32(size)), buf...)
			g.size = prefix + size
		}
	}
	if g.out != nil {
		g.in = make([]byte, 512<<10)
	}
	return g
}

// guestBatch is how many frames the guest moves at once.
func guestBatch(size int) int {
	if size > 2048 {
		return 16
	}
	return 64
}

func (g *rawGuest) call(b testing.TB, trap uintptr, p unsafe.Pointer, n, flags int) int {
	for {
		r, _, e := unix.Syscall6(trap, uintptr(g.fd), uintptr(p), uintptr(n), uintptr(flags), 0, 0)
		switch e {
		case 0:
			return int(r)
		case unix.EINTR:
		default:
			b.Fatalf("the relay does not answer: %v", e)
		}
	}
}

func (g *rawGuest) send(b testing.TB, n int) int {
	if g.out == nil {
		return g.call(b, unix.SYS_SENDMMSG, unsafe.Pointer(&g.msgs[0]), n, 0)
	}
	k := g.call(b, unix.SYS_WRITE, unsafe.Pointer(&g.out[g.at]), len(g.out)-g.at, 0)
	g.at = (g.at + k) % len(g.out)
	return g.whole(k)
}

func (g *rawGuest) receive(b testing.TB, n int) int {
	if g.out == nil {
		return g.call(b, unix.SYS_RECVMMSG, unsafe.Pointer(&g.msgs[0]), n, unix.MSG_WAITFORONE)
	}
	return g.whole(g.call(b, unix.SYS_READ, unsafe.Pointer(&g.in[0]), len(g.in), 0))
}

// hello makes one round trip. The answer to the first frame may come while the relay
// still drops what it reads, because a moment ago there was no peer: then it is asked
// again.
func (g *rawGuest) hello(b testing.TB) {
	for range 5 {
		g.send(b, 1)
		fds := []unix.PollFd{{Fd: int32(g.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 1000); n > 0 && err == nil {
			break
		}
	}
	g.receive(b, 1)
}

// whole counts frames of a stream.
func (g *rawGuest) whole(bytes int) int {
	g.got += bytes
	n := g.got / g.size
	g.got %= g.size
	return n
}

// move moves frames, or makes round trips, for a while and returns how many it
// would have been in exactly that time.
func (g *rawGuest) move(b testing.TB, mode string, d time.Duration) float64 {
	start, n := time.Now(), 0
	for time.Since(start) < d {
		switch mode {
		case sink:
			n += g.send(b, len(g.msgs))
		case source:
			n += g.receive(b, len(g.msgs))
		default:
			g.send(b, 1)
			n += g.receive(b, 1)
		}
	}
	return float64(n) * d.Seconds() / time.Since(start).Seconds()
}
