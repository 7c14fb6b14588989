package netlink

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/route"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/conv"
)

// fetch returns one of sysctl's lists of the routing tables, NET_RT_.
func fetch(family, list, arg int) ([]bsd.Message, error) {
	b, err := route.FetchRIB(family, route.RIBType(list), arg)
	if err != nil {
		return nil, err
	}
	return bsd.ParseAll(b)
}

// open makes a socket that no child inherits. The caller closes it.
func open(domain, typ, proto int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(domain, typ, proto)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// withSocket runs fn with a socket that ioctls of a family are asked on.
func withSocket(family int, fn func(fd int) error) error {
	fd, err := open(family, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	return fn(fd)
}

// ioctl asks with a structure of package bsd. IoctlSetInt is the way to libSystem's
// ioctl that golang.org/x/sys exports; the structure is pinned, since a number does
// not keep it alive.
func ioctl[T any](fd int, req uint, arg *T) error {
	var pin runtime.Pinner
	pin.Pin(arg)
	defer pin.Unpin()
	return unix.IoctlSetInt(fd, req, int(uintptr(unsafe.Pointer(arg))))
}

// drvspec asks the driver of an interface, with SIOCSDRVSPEC or SIOCGDRVSPEC.
func drvspec[T any](fd int, req uint, name string, cmd uint64, arg *T) error {
	var pin runtime.Pinner
	pin.Pin(arg)
	defer pin.Unpin()
	d, err := bsd.Ifdrv(name, cmd, uintptr(unsafe.Pointer(arg)), int(unsafe.Sizeof(*arg)))
	if err != nil {
		return err
	}
	return ioctl(fd, req, &d)
}

// ask sends a message to the kernel, which answers the write with its error.
func ask(m *bsd.RouteMsg) error {
	fd, err := open(unix.AF_ROUTE, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return send(fd, m)
}

func send(fd int, m *bsd.RouteMsg) error {
	m.Pid, m.Seq = int32(os.Getpid()), rand.Int32()
	b, err := m.Marshal()
	if err != nil {
		return err
	}
	for {
		if _, err = unix.Write(fd, b); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

const (
	answerTimeout = 2 * time.Second // for an answer of the kernel, which gives it at once
	maxAnswers    = 4096            // messages of others that are passed over meanwhile
	maxMessage    = 64 << 10        // bytes; rtm_msglen has 16 bits
)

// query sends a message and returns the kernel's answer to it.
func query(m *bsd.RouteMsg) (*bsd.RouteMsg, error) {
	fd, err := open(unix.AF_ROUTE, unix.SOCK_RAW, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	tv := unix.NsecToTimeval(int64(answerTimeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := send(fd, m); err != nil {
		return nil, err
	}
	b := make([]byte, maxMessage)
	for range maxAnswers {
		n, err := unix.Read(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("read", err)
		}
		got, _, err := bsd.Parse(b[:n])
		if r, ok := got.(*bsd.RouteMsg); err == nil && ok && r.Pid == m.Pid && r.Seq == m.Seq && r.Type == m.Type {
			if r.Errno != 0 {
				return nil, unix.Errno(r.Errno)
			}
			return r, nil
		}
	}
	return nil, fmt.Errorf("no answer among %d messages: %w", maxAnswers, unix.ETIMEDOUT)
}

// explain says what failed. What macOS cannot express is not implemented.
func explain(fn, what string, err error) error {
	if err == nil {
		return nil
	}
	if u := conv.Unsupported(""); errors.As(err, &u) {
		return fmt.Errorf("%s: %w: %w", what, u, notImplemented(fn))
	}
	return fmt.Errorf("%s: %w", what, err)
}
