package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Push connects to the unix socket path and hands f over with Send. It returns
// when the receiver has answered.
//
// f stays the caller's: the receiver has a duplicate. Errors: as Send, and those
// of connecting (errors.Is with unix.ECONNREFUSED: nobody listens).
func Push(ctx context.Context, path string, m Message, f *os.File) error {
	conn, err := Connect(ctx, path)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := Send(ctx, conn, m, f); err != nil {
		return fmt.Errorf("push %s: %w", path, err)
	}
	return nil
}

// Connect opens a connection to the stream socket path, for Send. A caller that
// must know whether somebody listens before it has something to send connects
// first and sends later, on the same connection. While the listener's backlog is
// full it tries again until ctx ends or MaxWait is over.
func Connect(ctx context.Context, path string) (*net.UnixConn, error) {
	if err := checkPath(path); err != nil {
		return nil, fmt.Errorf("connect %s: %w", path, err)
	}
	ctx, cancel := context.WithTimeout(ctx, MaxWait)
	defer cancel()
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		// unix(7): a non-blocking connect to a socket whose backlog is full
		// fails with EAGAIN instead of EINPROGRESS, so polling cannot wait.
		if !errors.Is(err, unix.EAGAIN) {
			return nil, fmt.Errorf("connect %s: %w", path, cause(err))
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect %s: backlog full: %w", path, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Send sends m with f over conn and waits for the answer, until ctx ends or
// MaxWait is over. m.Version may be 0. Nothing else may use conn meanwhile.
//
// conn and f stay the caller's: the receiver has a duplicate of f. Errors: a
// *RefusedError when the receiver said no, ErrProtocol for a wrong message or
// answer, io.ErrUnexpectedEOF when it closed without an answer, the context's.
func Send(ctx context.Context, conn *net.UnixConn, m Message, f *os.File) (err error) {
	line, err := m.encode()
	if err != nil {
		return err
	}
	done := guard(ctx, conn)
	defer func() { err = done(err) }()
	werr := writeWithFile(conn, line, f)
	if werr != nil && !errors.Is(werr, unix.EPIPE) {
		return fmt.Errorf("send frame fd: %w", cause(werr))
	}
	// A receiver may refuse before it has read everything: its answer is there
	// although writing failed.
	reply, err := readLine(nil, conn.Read)
	if err != nil && werr != nil {
		return fmt.Errorf("send frame fd: %w", cause(werr))
	}
	if err != nil {
		return fmt.Errorf("read answer: %w", cause(err))
	}
	return decodeAnswer(reply)
}

// writeWithFile writes line, with f's descriptor on the first byte. The
// descriptor is borrowed through Control: Fd would put f in blocking mode.
func writeWithFile(conn *net.UnixConn, line []byte, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var werr error
	err = raw.Control(func(fd uintptr) {
		n, _, werr = conn.WriteMsgUnix(line, unix.UnixRights(int(fd)), nil)
	})
	if err = errors.Join(err, werr); err != nil {
		return err
	}
	if n < len(line) { // a stream socket may take a part only
		_, err = conn.Write(line[n:])
	}
	return err
}

// readLine reads up to a newline, which it cuts off, with read; have are bytes
// that were read before. Nothing may follow the newline: the other side waits
// for us then.
func readLine(have []byte, read func([]byte) (int, error)) ([]byte, error) {
	line, chunk := have, make([]byte, 4096)
	for {
		if i := indexNewline(line); i >= 0 {
			if i != len(line)-1 {
				return nil, fmt.Errorf("%w: %d bytes after the line", ErrProtocol, len(line)-1-i)
			}
			return line[:i], nil
		}
		if len(line) >= MaxLine {
			return nil, fmt.Errorf("%w: line longer than %d bytes", ErrProtocol, MaxLine)
		}
		n, err := read(chunk[:min(len(chunk), MaxLine-len(line))])
		line = append(line, chunk[:n]...)
		if errors.Is(err, io.EOF) && n == 0 {
			return nil, io.ErrUnexpectedEOF
		} else if err != nil && n == 0 {
			return nil, err
		}
	}
}

func indexNewline(b []byte) int {
	for i := range b {
		if b[i] == '\n' {
			return i
		}
	}
	return -1
}

// guard makes reads and writes of conn end when ctx does, and after MaxWait. The
// returned function must be called with the outcome; it puts conn back, joins
// the watcher and returns the context's error in the place of a timeout.
func guard(ctx context.Context, conn *net.UnixConn) func(error) error {
	ctx, cancel := context.WithTimeout(ctx, MaxWait)
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = conn.SetDeadline(time.Unix(1, 0)) // fails only on a closed conn, which ends by itself
	})
	return func(err error) error {
		if !stop() {
			<-fired
		}
		ended := ctx.Err()
		cancel()
		_ = conn.SetDeadline(time.Time{})
		if ended != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("no answer in time: %w", ended)
		}
		return err
	}
}

// cause strips net.OpError, whose text repeats operation and address, and keeps
// what errors.Is finds.
func cause(err error) error {
	var oe *net.OpError
	if errors.As(err, &oe) {
		return oe.Err
	}
	return err
}
