package relay_test

import (
	"fmt"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// BenchmarkBare is the limit that the system sets: one socket pair, one thread
// that sends batches and one that receives them, blocking, and nothing else. The
// relay's figures are to be read beside it.
func BenchmarkBare(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("dgram/%d", size), func(b *testing.B) {
			tx, rx := bareSockets(b, unix.SOCK_DGRAM)
			out, in := newMmsgs(size), newMmsgs(size)
			b.ResetTimer()
			go func() {
				for n := b.N; n > 0; {
					n -= out.call(unix.SYS_SENDMMSG, tx, min(n, len(out)), 0)
				}
			}()
			for n := b.N; n > 0; {
				n -= in.call(unix.SYS_RECVMMSG, rx, len(in), unix.MSG_WAITFORONE)
			}
			b.StopTimer()
			report(b, size)
		})
		b.Run(fmt.Sprintf("stream/%d", size), func(b *testing.B) {
			tx, rx := bareSockets(b, unix.SOCK_STREAM)
			batch := make([]byte, (size+4)*relay.BatchLen(size))
			buf := make([]byte, 512<<10)
			b.ResetTimer()
			go func() {
				for n := b.N * (size + 4); n > 0; {
					k, err := unix.Write(tx, batch[:min(n, len(batch))])
					if err != nil {
						b.Error(err)
						return
					}
					n -= k
				}
			}()
			for n := b.N * (size + 4); n > 0; {
				k, err := unix.Read(rx, buf)
				if err != nil {
					b.Fatal(err)
				}
				n -= k
			}
			b.StopTimer()
			report(b, size)
		})
	}
}

func bareSockets(b *testing.B, typ int) (tx, rx int) {
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20); err != nil {
		b.Fatal(err)
	}
	return fds[0], fds[1]
}

type mmsg struct {
	hdr unix.Msghdr
	len uint32
}

type mmsgs []mmsg

func newMmsgs(size int) mmsgs {
	m := make(mmsgs, relay.BatchLen(size))
	for i, b := range relay.NewBuffers(len(m), size) {
		m[i].hdr.Iov = &unix.Iovec{Base: &b[0], Len: uint64(size)}
		m[i].hdr.SetIovlen(1)
	}
	return m
}

func (m mmsgs) call(trap uintptr, fd, n, flags int) int {
	r, _, e := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&m[0])), uintptr(n), uintptr(flags), 0, 0)
	if e != 0 {
		return 0
	}
	return int(r)
}
