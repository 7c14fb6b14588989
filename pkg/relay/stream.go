package relay

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A streamPort is a stream socket with length-prefixed frames.
type streamPort struct {
	*sock
	in  streamReader
	out streamWriter
}

// newStreamPort owns s.
func newStreamPort(s *sock) *streamPort {
	p := &streamPort{sock: s}
	p.in.init(s)
	p.out.init(s)
	return p
}

func (p *streamPort) Kind() string { return KindStream }

func (p *streamPort) Close() error {
	err := p.close()
	p.out.late.Wait()
	return err
}

// ReadBatch implements Port.
func (p *streamPort) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	views, err := p.in.read(min(len(bufs), len(p.in.views)))
	for i, f := range views {
		sizes[i] = copy(bufs[i], f)
	}
	return len(views), err
}

// readViews is ReadBatch without the copy: the frames are valid until the next
// read. It returns as many as there are, at most a batch.
func (p *streamPort) readViews() ([][]byte, error) { return p.in.read(len(p.in.views)) }

// WriteBatch implements Port.
func (p *streamPort) WriteBatch(frames [][]byte) (int, error) { return p.out.write(frames) }

// alive reports whether the peer still has its end open. The frame is not needed.
func (p *streamPort) alive([]byte) bool {
	there := true
	err := p.raw.Control(func(fd uintptr) {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: hungUp}}
		n, err := unix.Poll(fds[:], 0)
		there = err != nil || n == 0 || fds[0].Revents&hungUp == 0
	})
	return err == nil && there
}

// A streamReader reads frames from a stream. One goroutine uses it.
type streamReader struct {
	s     *sock
	dec   *Decoder
	views [][]byte
	try   func(fd uintptr) bool
	heat  heat
	hdr   unix.Msghdr
	iov   unix.Iovec
	n     int
	errn  syscall.Errno
}

func (r *streamReader) init(s *sock) {
	r.heat.s = s
	r.s, r.views = s, make([][]byte, BatchLen(s.max))
	r.try = func(fd uintptr) bool {
		for {
			flags := unix.MSG_DONTWAIT
			if r.heat.hot {
				flags = 0
			}
			r.n, r.errn = r.recv(int(fd), flags)
			if r.errn != unix.EAGAIN {
				return true
			}
			if !r.heat.again() {
				return false
			}
		}
	}
}

// recv reads into the decoder's room.
func (r *streamReader) recv(fd, flags int) (int, syscall.Errno) {
	room := r.dec.Room()
	r.iov.Base = unsafe.SliceData(room)
	r.iov.SetLen(len(room))
	r.hdr.Iov = &r.iov
	r.hdr.SetIovlen(1)
	return callRecv(fd, &r.hdr, flags)
}

// read returns up to limit frames, at least one.
func (r *streamReader) read(limit int) ([][]byte, error) {
	if r.dec == nil {
		r.dec = NewDecoder(r.s.max)
	}
	for {
		if n, err := r.decode(limit); n > 0 || err != nil {
			return r.views[:n], err
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// decode takes what frames there are.
func (r *streamReader) decode(limit int) (n int, err error) {
	for n < limit {
		frame, why, ok := r.dec.Next()
		switch {
		case !ok:
			return n, nil
		case why == ReasonOutOfStep && n > 0:
			return n, nil // the next call says it again
		case why == ReasonOutOfStep:
			return 0, ErrOutOfStep
		case why != ReasonNone:
			r.s.drops.Load().add(why, 1)
		default:
			r.views[n] = frame
			n++
		}
	}
	return n, nil
}

// fill waits for bytes.
func (r *streamReader) fill() error {
	err := r.s.raw.Read(r.try)
	if err != nil || r.errn != 0 || r.n == 0 {
		r.heat.cool()
	}
	switch {
	case r.s.closed.Load():
		return net.ErrClosed
	case err != nil:
		return err
	case gone(r.errn):
		return io.EOF
	case r.errn != 0:
		return os.NewSyscallError("read", r.errn)
	case r.n == 0:
		return io.EOF
	}
	r.dec.Fill(r.n)
	return nil
}

// A streamWriter writes frames to a stream. Writers take turns. A frame that the
// socket took a part of is never given up: what is left of it when the wait is
// over waits in tail, and goes before everything else.
type streamWriter struct {
	s    *sock
	try  func(fd uintptr)
	late sync.WaitGroup // the goroutine that sends tail

	mu      sync.Mutex // guards all following
	vec     vector
	wait    sendWait
	frames  [][]byte
	n       int
	err     error
	tail    []byte // the end of a frame; a slice of tailBuf
	tailBuf []byte
	flusher bool // the goroutine runs
}

func (w *streamWriter) init(s *sock) {
	w.s = s
	w.vec.init(BatchLen(s.max))
	w.wait.closed = &s.closed // no mayBlock: what may not fit is not sent (room), so no send would wait
	w.try = func(fd uintptr) { w.n, w.err = w.send(int(fd)) }
}

func (w *streamWriter) write(frames [][]byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wait.limit = time.Duration(w.s.wait.Load())
	w.frames, w.n, w.err = frames, 0, nil
	w.wait.start()
	cerr := w.s.raw.Control(w.try)
	w.frames = nil
	if cerr != nil {
		return 0, net.ErrClosed
	}
	return w.n, w.err
}

// send sends tail and then w.frames.
func (w *streamWriter) send(fd int) (done int, err error) {
	if err := w.sendTail(fd); err != nil {
		return 0, err
	}
	off := 0 // how much of frame done, prefix included, has been sent
	for done < len(w.frames) {
		good := sendable(w.frames[done:], w.s.max)
		if good == 0 {
			return done, ErrFrameSize
		}
		n, e := w.vec.send(fd, w.frames[done:done+good], off)
		if e == 0 {
			done, off = advance(w.frames, done, off+n)
			w.wait.progress()
			continue
		}
		if err := w.failed(fd, e); err != nil {
			if off > 0 && err != net.ErrClosed { //nolint:errorlint // failed returns it bare
				w.keep(w.frames[done], off)
				done++
			}
			if done == len(w.frames) {
				err = nil
			}
			return done, err
		}
	}
	return done, nil
}

// advance returns which frame byte off, counted from the start of frame done,
// falls in, and where.
func advance(frames [][]byte, done, off int) (int, int) {
	for done < len(frames) && off >= prefixLen+len(frames[done]) {
		off -= prefixLen + len(frames[done])
		done++
	}
	return done, off
}

// failed says what becomes of a write after e: nil to try again.
func (w *streamWriter) failed(fd int, e syscall.Errno) error {
	switch {
	case w.s.closed.Load():
		return net.ErrClosed
	case full(e):
		if w.wait.wait(fd, e) {
			return nil
		}
		return ErrQueueFull
	case gone(e):
		return ErrPeerGone
	}
	return os.NewSyscallError("sendmsg", e)
}

// sendTail sends what is left of an earlier frame.
func (w *streamWriter) sendTail(fd int) error {
	for len(w.tail) > 0 {
		n, e := w.vec.sendBytes(fd, w.tail)
		if e == 0 {
			w.wait.progress()
			w.tail = w.tail[n:]
			continue
		}
		if err := w.failed(fd, e); err != nil {
			return err
		}
	}
	return nil
}
