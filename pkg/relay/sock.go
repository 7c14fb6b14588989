package relay

import (
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// conn is what a port needs of a net.Conn or a bound socket. Reads park in Go's
// poller (RawConn.Read; on Linux see watch). Writes go through RawConn.Control, which holds the
// descriptor open and no lock: the port's own lock orders them.
type conn interface {
	syscall.Conn
	Close() error
}

// A sock is what both framings share. It owns conn.
type sock struct {
	conn   conn
	raw    syscall.RawConn
	max    int // the largest frame in bytes
	closed atomic.Bool
	once   sync.Once
	cerr   error
	drops  atomic.Pointer[drops] // where refused messages of the guest are counted
	wait   atomic.Int64          // how long a batch waits for the peer, in nanoseconds

	threads atomic.Pointer[Threads] // bounds the readers that wait in the kernel
	blocker                         // of mayBlock
}

// fromFile makes a sock of a duplicate of f, and closes f. The duplicate is
// non-blocking, and so is f's other duplicate elsewhere, if there is one: the
// flag belongs to the open file (fcntl(2)).
func fromFile(f *os.File, maxFrame, sotype int) (*sock, error) {
	if f == nil {
		return nil, fmt.Errorf("no file: %w", os.ErrInvalid)
	}
	defer f.Close()
	if maxFrame < vmnet.HeaderLen {
		return nil, fmt.Errorf("largest frame of %d bytes: want at least %d: %w", maxFrame, vmnet.HeaderLen, os.ErrInvalid)
	}
	if err := checkType(f, sotype); err != nil {
		return nil, err
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return newSock(c.(conn), maxFrame)
}

// newSock owns c, also when it fails.
func newSock(c conn, maxFrame int) (*sock, error) {
	c = watched(c)
	raw, err := c.SyscallConn()
	if err != nil {
		c.Close()
		return nil, err
	}
	s := &sock{conn: c, raw: raw, max: maxFrame}
	s.drops.Store(new(drops))
	s.wait.Store(int64(defaultPeerWait))
	return s, nil
}

// checkType refuses what is not a socket of the type.
func checkType(f *os.File, sotype int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var got int
	cerr := raw.Control(func(fd uintptr) {
		got, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
	})
	switch {
	case cerr != nil:
		return cerr
	case err != nil:
		return os.NewSyscallError("getsockopt SO_TYPE", err)
	case got != sotype:
		return fmt.Errorf("socket of type %d: want %d: %w", got, sotype, os.ErrInvalid)
	}
	return nil
}

// countInto makes d the place where refused messages are counted, wait the
// limit of a write, and t what bounds the readers that wait in the kernel.
func (s *sock) countInto(d *drops, wait time.Duration, t *Threads) {
	s.threads.Store(t)
	s.drops.Store(d)
	s.wait.Store(int64(wait))
}

// close closes the descriptor once and waits until nobody uses it: a writer that
// waits for the peer needs pollSlice to notice.
func (s *sock) close() error {
	s.once.Do(func() {
		s.closed.Store(true)
		s.cerr = s.conn.Close()
	})
	return s.cerr
}
