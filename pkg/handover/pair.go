package handover

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Buffer sizes in bytes, as asked for. Linux keeps and reports twice as much, to
// pay for its own bookkeeping (socket(7), SO_SNDBUF).
const (
	queueBuffer        = 4 << 20 // receive queue of either end; Apple's advice for file handle attachments
	queueBufferOffload = 8 << 20 // with frames of 64 KiB; about 2.5 times the throughput of 4 MiB
	guestSendBuffer    = 1 << 20 // a quarter of queueBuffer
	receivePerSend     = 4       // Virtualization.framework: SO_RCVBUF at least 2, better 4 times SO_SNDBUF
	datagramOverhead   = 32      // linux/net/unix/af_unix.c: a datagram may have sk_sndbuf-32 bytes
)

// Pair returns a connected pair of sockets of the kind, KindDgram or KindStream,
// for frames of at most maxFrame bytes: one for the guest, one for the host's
// side. Both are close-on-exec. The host's is non-blocking, so that Go's poller
// takes it; the guest's is blocking, since most programs expect a descriptor
// they were given to be as socket(2) makes it.
//
// The buffers of both are set, and read back: a frame of maxFrame bytes fits the
// send buffer of either, the guest's receive buffer is at least four times its
// send buffer, and all are as large as the system allows up to 4 MiB, or 8 MiB
// with offload. On Linux the sender's send buffer is the queue of an AF_UNIX
// socket, so the host's is made that large as well. What cannot be had is an
// error that names the limit.
//
// Both files are the caller's.
func Pair(kind string, maxFrame int, offload bool) (guest, host *os.File, err error) {
	typ, err := socketType(kind)
	if err != nil {
		return nil, nil, fmt.Errorf("pair: %w", err)
	}
	if maxFrame < headerSize || maxFrame > maxMaxFrame {
		return nil, nil, fmt.Errorf("pair: largest frame of %d bytes: want %d to %d", maxFrame, headerSize, maxMaxFrame)
	}
	fds, err := socketpair(typ)
	if err != nil {
		return nil, nil, fmt.Errorf("pair: %w", os.NewSyscallError("socketpair", err))
	}
	defer func() {
		if err != nil {
			_, _ = unix.Close(fds[0]), unix.Close(fds[1])
		}
	}()
	if err := setPairBuffers(fds[0], fds[1], maxFrame, offload); err != nil {
		return nil, nil, fmt.Errorf("pair: %w", err)
	}
	if err := unix.SetNonblock(fds[1], true); err != nil {
		return nil, nil, fmt.Errorf("pair: %w", os.NewSyscallError("set non-blocking", err))
	}
	return os.NewFile(uintptr(fds[0]), "frames:guest"), os.NewFile(uintptr(fds[1]), "frames:host"), nil
}

func socketType(kind string) (int, error) {
	switch kind {
	case KindDgram:
		return unix.SOCK_DGRAM, nil
	case KindStream:
		return unix.SOCK_STREAM, nil
	}
	return 0, fmt.Errorf("kind %q: want %s or %s", kind, KindDgram, KindStream)
}

// socketpair makes a pair that is close-on-exec. macOS has no flag for it, so
// there the fork lock keeps a child from starting in between.
func socketpair(typ int) ([2]int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, typ, 0)
	if err != nil {
		return fds, err
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
		noSIGPIPE(fd)
	}
	return fds, nil
}

func setPairBuffers(guest, host, maxFrame int, offload bool) error {
	queue := queueBuffer
	if offload {
		queue = queueBufferOffload
	}
	least := maxFrame + datagramOverhead
	if _, err := setBuffer(host, receiveBuffer, queue, least); err != nil {
		return err
	}
	if _, err := setBuffer(host, sendBuffer, queue, least); err != nil {
		return err
	}
	got, err := setBuffer(guest, receiveBuffer, queue, receivePerSend*least)
	if err != nil {
		return err
	}
	// got is in the unit of what is read back; asking for a quarter of what
	// was asked for would be too much where the system gave less.
	want := min(guestSendBuffer, got/receivePerSend/readBackFactor)
	sent, err := setBuffer(guest, sendBuffer, max(want, (least+readBackFactor-1)/readBackFactor), least)
	if err != nil {
		return err
	}
	if got < receivePerSend*sent {
		return fmt.Errorf("receive buffer of %d bytes: want %d times the send buffer of %d: raise %s",
			got, receivePerSend, sent, receiveBuffer.limit)
	}
	return nil
}

// A buffer is one of the two buffers of a socket.
type buffer struct {
	opt   int    // SO_SNDBUF or SO_RCVBUF
	force int    // the option that goes over the limit, for who may; 0: none
	limit string // the setting of the system that bounds it
}

// setBuffer asks for want bytes, and for less as long as the system refuses with
// ENOBUFS, as macOS does above kern.ipc.maxsockbuf. It returns the size read
// back, and an error when that is below least.
func setBuffer(fd int, b buffer, want, least int) (int, error) {
	err := errors.ErrUnsupported
	if b.force != 0 {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.force, want)
	}
	for size := want; err != nil; size -= size / 8 {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.opt, size)
		if err != nil && (!errors.Is(err, unix.ENOBUFS) || size < least || size < 8) {
			return 0, fmt.Errorf("set buffer to %d bytes (limit %s): %w", size, b.limit, err)
		}
	}
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, b.opt)
	if err != nil {
		return 0, os.NewSyscallError("getsockopt", err)
	}
	if got < least {
		return 0, fmt.Errorf("buffer of %d bytes: want %d: raise %s", got, least, b.limit)
	}
	return got, nil
}
