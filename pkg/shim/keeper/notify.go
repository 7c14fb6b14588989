package keeper

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long a Notifier waits for a keeper that does not read: once, and for every
// message until it has taken one. What it was not told is told again.
const (
	notifyWait = 5 * time.Second
	slowWait   = 20 * time.Millisecond
	tellAgain  = 200 * time.Millisecond
)

// A Notifier tells a keeper what to keep. It holds duplicates of all that, so
// that another keeper can be given it. Its methods may be called from several
// goroutines at once.
type Notifier struct {
	mu     sync.Mutex // guards all following; messages go in order
	conn   *net.UnixConn
	held   map[string]int
	behind map[string]bool // names of which the keeper was not told yet; true: it may have another descriptor
	slow   bool            // it took no message in time
	again  *time.Timer     // tells it what is behind; nil: nothing is
	wait   time.Duration   // notifyWait, but for tests and the keeper itself
	closed bool
}

// NewNotifier returns a notifier for the keeper with the notify socket at addr.
// After the keeper's death Store, Take and Remove still note what is to be kept,
// for MoveTo. The caller closes it.
func NewNotifier(addr string) (*Notifier, error) {
	n := &Notifier{held: map[string]int{}, behind: map[string]bool{}, wait: notifyWait}
	if err := n.connect(addr); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *Notifier) connect(addr string) error {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: addr, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("keeper: %w", err)
	}
	if n.conn != nil {
		_ = n.conn.Close()
	}
	n.conn, n.slow = c, false
	return nil
}

// MoveTo turns to another keeper and gives it all that the one before was given.
func (n *Notifier) MoveTo(addr string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.connect(addr); err != nil {
		return err
	}
	errs := []error{n.send(fmt.Sprintf("MAINPID=%d\nREADY=1", os.Getpid()))}
	for name, fd := range n.held {
		errs = append(errs, n.send("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, fd))
	}
	clear(n.behind)
	return errors.Join(errs...)
}

// Notify sends a state, as "READY=1".
func (n *Notifier) Notify(state string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.send(state)
}

// Sync returns when the keeper has done what it was told before.
func (n *Notifier) Sync() error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("keeper: %w", err)
	}
	defer r.Close()
	fd, err := duplicate(w)
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("keeper: %w", err)
	}
	n.mu.Lock()
	if err = n.catchUp(); err == nil {
		err = n.send("BARRIER=1", fd)
	}
	wait := n.wait
	n.mu.Unlock()
	_ = unix.Close(fd)
	if err != nil {
		return err
	}
	if err := r.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return fmt.Errorf("keeper: %w", err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("keeper: %w", err)
	}
	return nil
}

// Store has the descriptor of c kept under name, in the place of the one kept
// under that name before. c stays the caller's.
func (n *Notifier) Store(name string, c syscall.Conn) error {
	if err := CheckName(name); err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	fd, err := duplicate(c)
	if err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = unix.Close(fd)
		return fmt.Errorf("keep %s: %w", name, net.ErrClosed)
	}
	old, had := n.held[name]
	if had {
		_ = unix.Close(old)
	}
	n.held[name] = fd
	n.behind[name] = n.behind[name] || had
	return n.catchUp()
}

// Take notes that name is kept already, since the keeper passed c on under it. c
// stays the caller's.
func (n *Notifier) Take(name string, c syscall.Conn) error {
	fd, err := duplicate(c)
	if err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if old, ok := n.held[name]; ok {
		_ = unix.Close(old)
	}
	n.held[name] = fd
	return nil
}

// Remove ends the keeping of name. It is no error when nothing is kept.
func (n *Notifier) Remove(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	fd, had := n.held[name]
	if had {
		_ = unix.Close(fd)
		delete(n.held, name)
	}
	switch other, behind := n.behind[name]; {
	case !had && !behind:
		return n.send("FDSTOREREMOVE=1\nFDNAME=" + name) // not noted: there is no bound to such names
	case behind && !other:
		delete(n.behind, name) // the keeper never had it
		return nil
	}
	n.behind[name] = true
	return n.catchUp()
}

// catchUp tells the keeper what it was not told yet: all that is new, or more, if it
// took no messages for a while. What it does not take now it is told later. The caller
// holds mu.
func (n *Notifier) catchUp() error {
	for name, other := range n.behind {
		var err error
		if other {
			err = n.send("FDSTOREREMOVE=1\nFDNAME=" + name)
		}
		if fd, ok := n.held[name]; ok && err == nil {
			n.behind[name] = false
			err = n.send("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, fd)
		}
		if err == nil {
			delete(n.behind, name)
			continue
		}
		if !n.slow {
			clear(n.behind) // it is gone: another is told everything
			return err
		}
		if n.again == nil && !n.closed {
			n.again = time.AfterFunc(tellAgain, n.later)
		}
		return fmt.Errorf("%w; it is told again", err)
	}
	return nil
}

func (n *Notifier) later() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.again = nil; !n.closed {
		_ = n.catchUp() // who asked for it has been told that it takes longer
	}
}

// Held returns how many descriptors are held.
func (n *Notifier) Held() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.held)
}

// Close lets go of everything here; the keeper keeps it. It is idempotent.
func (n *Notifier) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	if n.again != nil {
		n.again.Stop()
	}
	for _, fd := range n.held {
		_ = unix.Close(fd)
	}
	clear(n.held)
	return n.conn.Close()
}

// send sends one message; the caller holds mu.
func (n *Notifier) send(state string, fds ...int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	raw, err := n.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("keeper: %w", err)
	}
	end := time.Now().Add(n.wait)
	if n.slow {
		end = time.Now().Add(min(n.wait, slowWait))
	}
	_ = n.conn.SetWriteDeadline(end) // fails only when closed, as the write does
	for {
		var serr error
		err := raw.Write(func(fd uintptr) bool {
			serr = unix.Sendmsg(int(fd), []byte(state), oob, nil, 0)
			return !errors.Is(serr, unix.EAGAIN)
		})
		// macOS says ENOBUFS where Linux has the poller wait.
		if errors.Is(serr, unix.ENOBUFS) && time.Now().Before(end) {
			time.Sleep(time.Millisecond)
			continue
		}
		err = errors.Join(err, serr)
		n.slow = errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, unix.ENOBUFS)
		if err != nil {
			return fmt.Errorf("keeper: %w", err)
		}
		return nil
	}
}

// Duplicate returns another descriptor of c's open file, the caller's, close-on-exec.
// Unlike the File of a connection of package net, which asked for its Fd makes the open
// file block, c's too, it leaves the mode as it is. It is for everybody who passes
// descriptors on to the other side of this protocol.
func Duplicate(c syscall.Conn, name string) (*os.File, error) {
	fd, err := duplicate(c)
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// duplicate returns a duplicate of c's descriptor, close-on-exec.
func duplicate(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	cerr := raw.Control(func(from uintptr) {
		fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, firstFD)
		err = os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	})
	return fd, errors.Join(cerr, err)
}
