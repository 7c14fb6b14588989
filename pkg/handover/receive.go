package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// maxReceivedFiles is how many descriptors one read makes room for. Linux sends
// at most 253 in a message (SCM_MAX_FD), macOS at most what fits a 2 KiB
// mbuf cluster. With room for all of them none is cut off, and all are closed.
const maxReceivedFiles = 512

// Receive takes a message and its frame fd from conn, until ctx ends or MaxWait
// is over. The caller must then call Answer: the other side waits for it. When
// Receive itself fails, it has closed every descriptor that came and has
// answered with the error already.
//
// The file belongs to the caller; it is close-on-exec, and blocking or not as it
// came. io.EOF says that the other side closed without sending anything. Errors
// for a bad message wrap ErrProtocol.
func Receive(ctx context.Context, conn *net.UnixConn) (Message, *os.File, error) {
	m, f, err := receive(ctx, conn)
	if err == nil {
		return m, f, nil
	}
	if !errors.Is(err, io.EOF) {
		// The refusal is a courtesy; the error that matters is err.
		_ = Answer(ctx, conn, err)
	}
	return Message{}, nil, err
}

// Answer ends an exchange that Receive began: refusal nil accepts.
func Answer(ctx context.Context, conn *net.UnixConn, refusal error) (err error) {
	a := answer{OK: true}
	if refusal != nil {
		a = answer{Error: refusal.Error()}
		if a.Error == "" {
			a.Error = "refused without a reason"
		}
		a.Error = a.Error[:min(len(a.Error), 4096)]
	}
	line, err := encodeLine(a)
	if err != nil {
		return err
	}
	done := guard(ctx, conn)
	defer func() { err = done(err) }()
	if _, err := conn.Write(line); err != nil {
		return fmt.Errorf("answer: %w", cause(err))
	}
	return nil
}

func receive(ctx context.Context, conn *net.UnixConn) (m Message, f *os.File, err error) {
	done := guard(ctx, conn)
	defer func() { err = done(err) }()

	in := &fileReader{conn: conn, oob: make([]byte, unix.CmsgSpace(4*maxReceivedFiles))}
	defer func() {
		if err != nil {
			in.closeAll()
		}
	}()

	// The first byte is read alone: a read that goes on would also take
	// descriptors that came with later bytes.
	first := make([]byte, 1)
	if _, err := in.Read(first); err != nil {
		if errors.Is(err, io.EOF) {
			return m, nil, io.EOF
		}
		return m, nil, fmt.Errorf("read message: %w", cause(err))
	}
	if n := len(in.fds); n != 1 || in.truncated {
		return m, nil, fmt.Errorf("%w: %d descriptors with the first byte: want exactly one", ErrProtocol, n)
	}
	line, err := readLine(first, in.Read)
	if err != nil {
		return m, nil, fmt.Errorf("read message: %w", cause(err))
	}
	if n := len(in.fds); n != 1 || in.truncated {
		return m, nil, fmt.Errorf("%w: %d descriptors: want exactly one", ErrProtocol, n)
	}
	if m, err = decodeMessage(line); err != nil {
		return Message{}, nil, err
	}
	if err := checkKind(in.fds[0], m.Kind); err != nil {
		return Message{}, nil, err
	}
	return m, os.NewFile(uintptr(in.fds[0]), "frames:"+m.Network+"/"+m.ContainerID+"/"+m.IfName), nil
}

// fileReader reads from conn and collects the descriptors that come along.
type fileReader struct {
	conn      *net.UnixConn
	oob       []byte
	fds       []int
	truncated bool // some did not fit and were closed by the system
}

func (r *fileReader) Read(p []byte) (int, error) {
	// ReadMsgUnix sets close-on-exec on what it receives.
	n, oobn, flags, _, err := r.conn.ReadMsgUnix(p, r.oob)
	r.truncated = r.truncated || flags&unix.MSG_CTRUNC != 0
	if oobn > 0 {
		messages, perr := unix.ParseSocketControlMessage(r.oob[:oobn])
		for i := range messages {
			// Other control messages (credentials) are none of ours.
			if fds, ferr := unix.ParseUnixRights(&messages[i]); ferr == nil {
				r.fds = append(r.fds, fds...)
			}
		}
		if perr != nil && err == nil {
			err = fmt.Errorf("%w: control message: %w", ErrProtocol, perr)
		}
	}
	return n, err
}

func (r *fileReader) closeAll() {
	for _, fd := range r.fds {
		_ = unix.Close(fd) // close(2): nothing is left to do with an fd whose close failed
	}
	r.fds = nil
}
