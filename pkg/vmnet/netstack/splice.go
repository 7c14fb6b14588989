package netstack

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// stackEndpoint is a TCP endpoint of the gateway's stack: the guest's end.
type stackEndpoint = tcpip.Endpoint

// copyBuffer is the size in bytes of the buffers between a guest's connection
// and the host's: large, since each turn costs a system call and two locks.
const copyBuffer = 256 << 10

// errGuestReset says that the guest's end of a flow is gone without a FIN.
var errGuestReset = errors.New("connection reset by guest")

// A tcpFlow is one guest's connection and the host's. Half-closes go through; an
// end that fails makes the other fail, too.
type tcpFlow struct {
	nat   *tcpNAT
	guest netip.Addr
	ep    stackEndpoint
	wq    *waiter.Queue
	conn  *net.TCPConn
	via   *forward     // the forwarding rule that it came by, if any
	last  atomic.Int64 // of the last movement, in nanoseconds after nat's epoch
	fin   atomic.Bool  // the host's FIN was passed on, or is about to be

	endOnce sync.Once
	done    chan struct{} // closed when the flow ends early
}

func (f *tcpFlow) touch() { f.last.Store(int64(time.Since(f.nat.epoch))) }

// end resets both ends. It may be called from anywhere.
func (f *tcpFlow) end() {
	f.endOnce.Do(func() {
		close(f.done)
		_ = f.conn.SetLinger(0) // makes Close send RST
		_ = f.conn.Close()
		f.ep.Abort()
	})
}

// run moves bytes both ways until both are done.
func (f *tcpFlow) run() {
	down := make(chan struct{})
	go func() {
		defer close(down)
		if f.download() != nil {
			f.end()
		}
	}()
	if f.upload() != nil {
		f.end()
	}
	f.watch(down)
	<-down
	f.ep.Close()
	_ = f.conn.Close()
}

// upload moves bytes from the guest to the host, and the guest's FIN.
func (f *tcpFlow) upload() error {
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp | waiter.EventErr)
	f.wq.EventRegister(&entry)
	defer f.wq.EventUnregister(&entry)
	for {
		err := f.uploadSome(readable)
		if errors.Is(err, io.EOF) {
			return f.conn.CloseWrite()
		}
		if err != nil {
			return err
		}
	}
}

// uploadSome waits for bytes and then holds a buffer only as long as they come.
func (f *tcpFlow) uploadSome(readable <-chan struct{}) error {
	for f.ep.Readiness(waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr) == 0 {
		select {
		case <-readable:
		case <-f.done:
			return net.ErrClosed
		}
	}
	buf := f.nat.buffer()
	defer f.nat.buffers.Put(buf)
	for {
		w := tcpip.SliceWriter(*buf)
		res, terr := f.ep.Read(&w, tcpip.ReadOptions{})
		switch terr.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			return nil
		case *tcpip.ErrClosedForReceive:
			if f.wasReset() {
				return errGuestReset // the error itself went to the writer
			}
			return io.EOF
		default:
			return errGuestReset
		}
		f.ep.ModerateRecvBuf(res.Count)
		f.touch()
		if _, err := f.conn.Write((*buf)[:res.Count]); err != nil {
			return err
		}
		f.touch()
	}
}

// download moves bytes from the host to the guest, and the host's FIN.
func (f *tcpFlow) download() error {
	rc, err := f.conn.SyscallConn()
	if err != nil {
		return err
	}
	entry, writable := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	f.wq.EventRegister(&entry)
	defer f.wq.EventUnregister(&entry)
	for {
		// A buffer is held only while bytes move: idle connections are many.
		var buf *[]byte
		n, err := readReady(rc, func() []byte { buf = f.nat.buffer(); return *buf }, func() { f.nat.buffers.Put(buf) })
		if err != nil {
			return err
		}
		if n == 0 {
			f.nat.buffers.Put(buf)
			return f.closeGuest()
		}
		err = f.writeGuest((*buf)[:n], writable)
		f.nat.buffers.Put(buf)
		if err != nil {
			return err
		}
	}
}

// closeGuest passes the host's FIN on.
func (f *tcpFlow) closeGuest() error {
	f.fin.Store(true)
	if terr := f.ep.Shutdown(tcpip.ShutdownWrite); terr != nil {
		return errGuestReset
	}
	return nil
}

func (f *tcpFlow) writeGuest(b []byte, writable <-chan struct{}) error {
	f.touch()
	var r bytes.Reader
	for len(b) > 0 {
		r.Reset(b) // the stack may have read more than it took
		n, terr := f.ep.Write(&r, tcpip.WriteOptions{})
		b = b[n:]
		switch terr.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			select {
			case <-writable:
			case <-f.done:
				return net.ErrClosed
			}
		default:
			return errGuestReset
		}
	}
	f.touch()
	return nil
}

// watch waits, after the guest's FIN, for the other direction to be done. A
// reset from the guest ends that, too.
func (f *tcpFlow) watch(down <-chan struct{}) {
	entry, hup := waiter.NewChannelEntry(waiter.EventHUp | waiter.EventErr)
	f.wq.EventRegister(&entry)
	defer f.wq.EventUnregister(&entry)
	for {
		if f.wasReset() {
			f.end()
			return
		}
		select {
		case <-down:
			return
		case <-hup:
		}
	}
}

// wasReset reports whether the guest's end is gone without both FINs: the stack
// says "error", or after the guest's FIN "closed", which without the host's FIN
// only a reset brings about.
func (f *tcpFlow) wasReset() bool {
	switch tcp.EndpointState(f.ep.State()) {
	case tcp.StateError:
		return true
	case tcp.StateClose:
		return !f.fin.Load()
	}
	return false
}

func (t *tcpNAT) buffer() *[]byte {
	if b, ok := t.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, copyBuffer)
	return &b
}
