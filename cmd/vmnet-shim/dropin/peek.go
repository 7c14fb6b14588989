package dropin

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// What is looked at of a stream: the length of the first frame, its destination
// and its source.
const (
	prefixLen = 4
	peekLen   = prefixLen + 12
	minFrame  = 14 // bytes of an Ethernet header
	maxFrame  = 64<<10 + 14 + 12
)

// shortTime bounds the wait for the rest of a header that has begun.
const shortTime = 5 * time.Second

// peekMAC waits for a stream's first frame and returns its source, without taking
// a byte: whoever reads the stream next begins at the beginning.
func peekMAC(ctx context.Context, c *net.UnixConn) (net.HardwareAddr, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var begun time.Time
	for {
		head, err := peek(c)
		switch {
		case err != nil:
			return nil, errors.Join(ctx.Err(), err)
		case len(head) == peekLen:
			return sourceOf(head)
		case begun.IsZero():
			begun = time.Now()
		case time.Since(begun) > shortTime:
			return nil, fmt.Errorf("first frame: %d bytes in %s: want the header of one", len(head), shortTime)
		}
		// What is there stays readable, so that the system cannot wait for more.
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// peek returns what is waiting, at most peekLen bytes, and waits for the first.
func peek(c *net.UnixConn) ([]byte, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	buf := make([]byte, peekLen)
	var n int
	var perr error
	err = raw.Read(func(fd uintptr) bool {
		n, _, perr = unix.Recvfrom(int(fd), buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return perr != unix.EAGAIN && perr != unix.EINTR
	})
	switch {
	case err != nil:
		return nil, err
	case perr != nil:
		return nil, os.NewSyscallError("recvfrom", perr)
	case n == 0:
		return nil, io.EOF
	}
	return buf[:n], nil
}

// sourceOf returns the source of the frame that begins with head.
func sourceOf(head []byte) (net.HardwareAddr, error) {
	if n := binary.BigEndian.Uint32(head); n < minFrame || n > maxFrame {
		return nil, fmt.Errorf("first frame: length %d: want %d to %d", n, minFrame, maxFrame)
	}
	mac := net.HardwareAddr(head[prefixLen+6 : prefixLen+12])
	if mac[0]&1 != 0 || mac.String() == "00:00:00:00:00:00" {
		return nil, fmt.Errorf("first frame: source %s: want a unicast MAC", mac)
	}
	return mac, nil
}

// hungUp reports whether the other end of c has gone.
func hungUp(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: hangUpEvents}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&(hangUpEvents|unix.POLLHUP|unix.POLLERR) != 0
	})
	return err != nil || gone
}
