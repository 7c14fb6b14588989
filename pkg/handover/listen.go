package handover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxPending bounds how many givers a Listener serves at once; more wait in the
// socket's backlog.
const maxPending = 64

// A Listener takes frame fds that are pushed to a socket. A runtime makes one,
// names its path in CNI_NETNS, and calls Accept while ADD runs.
type Listener struct {
	path   string
	inode  fs.FileInfo // of the socket at path, so that Close removes no other
	l      *net.UnixListener
	offers chan *Offer // unbuffered: an offer is with Accept or with its goroutine
	cancel context.CancelFunc
	done   chan struct{} // closed when the accept loop has ended
	err    error         // why it ended; read after done
	once   sync.Once
}

// An Offer is a frame fd that waits for an answer: call Accept or Reject, once.
type Offer struct {
	// Message tells what the fd is.
	Message Message
	// File is the frame fd, close-on-exec. It is the caller's when Accept
	// returned nil; Reject closes it, and so does an Accept that fails.
	File *os.File

	conn *net.UnixConn
}

// Listen makes a socket at path that only the same user and root may connect to
// (mode 0600), and begins to take fds. A socket file on which nobody listens any
// more is replaced; one that is in use, or any other file, is an error.
//
// A giver connects early and may send late, so every connection has a goroutine
// of its own, at most 64 at once, and is given up after MaxWait. Connections
// that do not keep to the protocol are answered with the reason and dropped. While
// the process has no descriptor left, givers wait.
func Listen(path string) (*Listener, error) {
	ul, info, err := listenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", path, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Listener{
		path: path, inode: info, l: ul,
		offers: make(chan *Offer), cancel: cancel, done: make(chan struct{}),
	}
	go l.serve(ctx)
	return l, nil
}

// Path returns the path given to Listen: what belongs in CNI_NETNS.
func (l *Listener) Path() string { return l.path }

// Accept returns the next offer. It ends with the context's error, or with one
// that matches net.ErrClosed after Close.
func (l *Listener) Accept(ctx context.Context) (*Offer, error) {
	select {
	case o := <-l.offers:
		return o, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("accept %s: %w", l.path, ctx.Err())
	case <-l.done:
		return nil, fmt.Errorf("accept %s: %w", l.path, l.err)
	}
}

// Close stops listening, removes the socket file, rejects offers that no Accept
// has returned, and waits until that is done. Offers that Accept returned are
// not touched. Closing again does nothing.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		if info, serr := os.Lstat(l.path); serr == nil && os.SameFile(info, l.inode) {
			err = os.Remove(l.path)
		}
		l.cancel()
		err = errors.Join(err, l.l.Close())
	})
	<-l.done
	return err
}

// serve accepts connections until the listener is closed, then waits for those
// it serves.
func (l *Listener) serve(ctx context.Context) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxPending)
	for {
		conn, err := l.l.AcceptUnix()
		if isShortage(err) {
			select { // it passes; who connected waits in the backlog
			case <-time.After(shortagePause):
			case <-ctx.Done():
			}
			continue
		}
		if err != nil {
			l.err = cause(err)
			break
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			l.take(ctx, conn)
		})
	}
	l.cancel()
	wg.Wait()
	close(l.done)
}

// shortagePause is how long a Listener waits when it lacks what an accept takes.
const shortagePause = 20 * time.Millisecond

// isShortage reports whether err says that the process or the system has no more
// descriptors or memory at the moment (accept(2)).
func isShortage(err error) bool {
	for _, s := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// take receives one offer and gives it to an Accept.
func (l *Listener) take(ctx context.Context, conn *net.UnixConn) {
	m, f, err := Receive(ctx, conn)
	if err != nil {
		_ = conn.Close() // Receive has told the giver
		return
	}
	o := &Offer{Message: m, File: f, conn: conn}
	ctx, cancel := context.WithTimeout(ctx, MaxWait)
	defer cancel()
	select {
	case l.offers <- o:
	case <-ctx.Done():
		_ = o.Reject(errors.New("the runtime took no frame fd"))
	}
}

// Accept tells the giver that the fd is taken: the attachment stands, ADD
// succeeds. When that cannot be told, File is closed and the attachment will be
// taken back.
func (o *Offer) Accept() error {
	defer o.conn.Close()
	if err := Answer(context.Background(), o.conn, nil); err != nil {
		return errors.Join(err, o.File.Close())
	}
	return nil
}

// Reject closes File and tells the giver why: ADD fails with that text.
func (o *Offer) Reject(reason error) error {
	defer o.conn.Close()
	if reason == nil {
		reason = errors.New("refused without a reason")
	}
	return errors.Join(o.File.Close(), Answer(context.Background(), o.conn, reason))
}

// listenUnix is net.ListenUnix with a mode that holds before the first
// connection: a socket that is bound but does not listen refuses all.
func listenUnix(path string) (*net.UnixListener, fs.FileInfo, error) {
	if err := checkPath(path); err != nil {
		return nil, nil, err
	}
	fd, err := newSocket(unix.SOCK_STREAM)
	if err != nil {
		return nil, nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // net.FileListener has its own duplicate
	if err := bindFresh(fd, path); err != nil {
		return nil, nil, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, nil, err
	}
	err = errors.Join(os.Chmod(path, 0o600), unix.Listen(fd, maxPending))
	if err != nil {
		return nil, nil, errors.Join(err, os.Remove(path))
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, nil, errors.Join(err, os.Remove(path))
	}
	return l.(*net.UnixListener), info, nil
}

// bindFresh binds fd to path, in the place of a socket nobody listens on.
func bindFresh(fd int, path string) error {
	err := unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	if !errors.Is(err, unix.EADDRINUSE) {
		return err
	}
	info, serr := os.Lstat(path)
	if serr != nil || info.Mode().Type() != fs.ModeSocket {
		return err
	}
	conn, derr := net.Dial("unix", path)
	if derr == nil {
		_ = conn.Close()
		return err
	}
	if !errors.Is(derr, unix.ECONNREFUSED) {
		return err
	}
	// Two that find the same stale socket could remove each other's new one;
	// a runtime does not share the path of its socket with others.
	if rerr := os.Remove(path); rerr != nil {
		return rerr
	}
	return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
}
