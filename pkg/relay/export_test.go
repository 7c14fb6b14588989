package relay

import (
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// NewPlainDatagramPort is NewDatagramPort with the portable system calls.
func NewPlainDatagramPort(f *os.File, maxFrame int) (Port, error) {
	s, err := fromFile(f, maxFrame, unix.SOCK_DGRAM)
	if err != nil {
		return nil, err
	}
	return newDgramPort(s, true), nil
}

// ListenPlainDatagram is ListenDatagram with the portable system calls.
func (r *Relay) ListenPlainDatagram(c *net.UnixConn) error { return r.listenDatagram(c, true, "") }

// NewThreads returns Threads for which a guest is busy that says nothing for gap:
// how fast the machine is does not matter then.
func NewThreads(most int64, gap time.Duration) *Threads { return &Threads{Max: most, gap: gap} }

// Calls counts system calls of a datagram port.
type Calls struct{ Receives, Sends atomic.Int64 }

// CountCalls counts those of p from now on; nobody may use p yet.
func CountCalls(p Port) *Calls {
	c, d := new(Calls), p.(*dgramPort)
	d.in.io = countingReceiver{d.in.io, c}
	d.out.io = countingSender{d.out.io, c}
	return c
}

type countingReceiver struct {
	receiver
	c *Calls
}

func (r countingReceiver) recv(fd int, bufs [][]byte, got []received, wait bool) (int, syscall.Errno) {
	r.c.Receives.Add(1)
	return r.receiver.recv(fd, bufs, got, wait)
}

type countingSender struct {
	sender
	c *Calls
}

func (s countingSender) send(fd int, frames [][]byte, to *rawAddr, wait bool) (int, syscall.Errno) {
	s.c.Sends.Add(1)
	return s.sender.send(fd, frames, to, wait)
}
