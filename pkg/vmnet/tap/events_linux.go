package tap

import (
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// events calls a handler when the tap can be read. One goroutine waits in the
// runtime's poller, while there is a handler.
type events struct {
	mu     sync.Mutex // held while the handler changes; guards all following
	file   *os.File
	raw    syscall.RawConn
	stop   chan struct{} // closed to end the goroutine; nil: none runs
	done   chan struct{} // closed when it has ended
	closed bool
}

func (e *events) init(f *os.File) (err error) {
	e.file = f
	e.raw, err = f.SyscallConn()
	return err
}

// set replaces the handler; nil ends its calls.
func (e *events) set(fn func()) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return vmnet.ErrClosed
	}
	e.end()
	if fn == nil || e.file == nil {
		return nil
	}
	// end left a deadline in the past, which keeps the poller from waiting.
	if err := e.file.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	e.stop, e.done = make(chan struct{}), make(chan struct{})
	go e.run(fn, e.stop, e.done)
	return nil
}

// end stops the goroutine and waits for it. The caller holds mu.
func (e *events) end() {
	if e.stop == nil {
		return
	}
	close(e.stop)
	_ = e.file.SetReadDeadline(time.Unix(1, 0)) // fails when closed: then nobody waits
	<-e.done
	e.stop, e.done = nil, nil
}

func (e *events) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.end()
	e.closed = true
}

// run calls fn each time that something can be read. That it can is asked of the
// kernel, not of the poller, which tells of changes only.
func (e *events) run(fn func(), stop, done chan struct{}) {
	defer close(done)
	ready := func(fd uintptr) bool { return readable(int(fd)) }
	for {
		if e.raw.Read(ready) != nil {
			return // the deadline of end
		}
		select {
		case <-stop:
			return
		default:
			fn()
		}
	}
}

// readable reports whether a read would not block.
func readable(fd int) bool {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p[:], 0)
	return err != nil || n > 0 // after an error the read tells of it
}
