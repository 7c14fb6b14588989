package relay

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A dgramPort is a connected datagram socket.
type dgramPort struct {
	*sock
	in  dgramReader
	out dgramWriter
}

// newDgramPort owns s. plain chooses the portable system calls.
func newDgramPort(s *sock, plain bool) *dgramPort {
	p := &dgramPort{sock: s}
	p.in.init(s, false, plain)
	p.out.init(s, plain)
	return p
}

func (p *dgramPort) Kind() string { return KindDatagram }

func (p *dgramPort) Close() error { return p.close() }

// ReadBatch implements Port. Of a batch with messages that are not frames, the
// frames after them are moved up.
func (p *dgramPort) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	for {
		got, err := p.in.read(bufs)
		if err != nil {
			return 0, err
		}
		n, d := 0, p.drops.Load()
		for i := range got {
			if why := judge(bufs[i][:min(got[i].size, len(bufs[i]))], got[i].size, p.max); why != ReasonNone {
				d.add(why, 1)
				continue
			}
			if n != i {
				copy(bufs[n], bufs[i][:got[i].size])
			}
			sizes[n] = got[i].size
			n++
		}
		if n > 0 {
			return n, nil
		}
	}
}

// WriteBatch implements Port.
func (p *dgramPort) WriteBatch(frames [][]byte) (int, error) { return p.out.write(frames, nil) }

// alive asks whether the peer is there, by sending it the frame probe.
func (p *dgramPort) alive(probe []byte) bool { return p.out.probe(probe) }

// A dgramReader reads batches from a datagram socket. One goroutine uses it.
type dgramReader struct {
	s    *sock
	io   receiver
	got  []received
	try  func(fd uintptr) bool // made once, so that a read allocates nothing
	heat heat
	bufs [][]byte
	n    int
	errn syscall.Errno
}

func (r *dgramReader) init(s *sock, names, plain bool) {
	batch := BatchLen(s.max)
	r.heat.s = s
	r.s, r.io, r.got = s, newReceiver(batch, names, plain), make([]received, batch)
	r.try = func(fd uintptr) bool {
		for {
			r.n, r.errn = r.io.recv(int(fd), r.bufs, r.got, r.heat.hot)
			if r.errn != unix.EAGAIN {
				return true
			}
			if !r.heat.again() {
				return false
			}
		}
	}
}

// read fills bufs with at least one datagram and tells of each. Its errors are
// those of Port.ReadBatch.
func (r *dgramReader) read(bufs [][]byte) ([]received, error) {
	r.bufs = bufs[:min(len(bufs), len(r.got))]
	err := r.s.raw.Read(r.try)
	r.bufs = nil
	if err != nil || r.errn != 0 {
		r.heat.cool()
	}
	switch {
	case r.s.closed.Load():
		return nil, net.ErrClosed
	case err != nil:
		return nil, err
	case gone(r.errn):
		return nil, io.EOF
	case r.errn != 0:
		return nil, os.NewSyscallError("recvmsg", r.errn)
	}
	return r.got[:r.n], nil
}

// A dgramWriter writes batches to a datagram socket. Writers take turns.
type dgramWriter struct {
	s   *sock
	try func(fd uintptr)

	mu     sync.Mutex // guards all following
	io     sender
	wait   sendWait
	frames [][]byte
	to     *rawAddr
	n      int
	err    error
	one    [1][]byte
}

func (w *dgramWriter) init(s *sock, plain bool) {
	w.s, w.io = s, newSender(BatchLen(s.max), plain)
	w.wait.closed, w.wait.mayBlock = &s.closed, s.mayBlock
	w.try = func(fd uintptr) { w.n, w.err = w.send(int(fd)) }
}

// write is Port.WriteBatch to a name, or to the peer.
func (w *dgramWriter) write(frames [][]byte, to *rawAddr) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wait.limit = time.Duration(w.s.wait.Load())
	return w.locked(frames, to)
}

func (w *dgramWriter) locked(frames [][]byte, to *rawAddr) (int, error) {
	w.frames, w.to, w.n, w.err = frames, to, 0, nil
	w.wait.start()
	cerr := w.s.raw.Control(w.try)
	w.frames, w.to = nil, nil
	if cerr != nil {
		return 0, net.ErrClosed
	}
	return w.n, w.err
}

// send sends w.frames.
func (w *dgramWriter) send(fd int) (done int, err error) {
	for done < len(w.frames) {
		good := sendable(w.frames[done:], w.s.max)
		if good == 0 {
			return done, ErrFrameSize
		}
		n, e := w.io.send(fd, w.frames[done:done+good], w.to, w.wait.blocking)
		done += n
		switch {
		case e == 0:
			if !w.wait.progress() && done < len(w.frames) {
				return done, w.late()
			}
		case w.s.closed.Load():
			return done, net.ErrClosed
		case full(e):
			if !w.wait.wait(fd, e) {
				return done, ErrQueueFull
			}
		case tooLong(e):
			return done, ErrFrameSize
		case gone(e):
			return done, ErrPeerGone
		default:
			return done, os.NewSyscallError("sendmsg", e)
		}
	}
	return done, nil
}

// late says why a batch is not sent to its end: its time is up.
func (w *dgramWriter) late() error {
	if w.s.closed.Load() {
		return net.ErrClosed
	}
	return ErrQueueFull
}

// sendable returns how many frames from the first on have a length that a port
// sends.
func sendable(frames [][]byte, maxFrame int) int {
	for n, f := range frames {
		if len(f) < vmnet.HeaderLen || len(f) > maxFrame {
			return n
		}
	}
	return len(frames)
}

// probe sends one frame, behind a batch that is on its way but without a wait of
// its own, and reports false when nobody is there.
func (w *dgramWriter) probe(frame []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wait.limit = 0
	w.one[0] = frame
	_, err := w.locked(w.one[:], nil)
	w.one[0] = nil
	return err != ErrPeerGone //nolint:errorlint // locked returns it bare
}
