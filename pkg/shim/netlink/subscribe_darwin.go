package netlink

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
)

// Types of updates, which are Linux's (linux/rtnetlink.h): code that looks at them
// compares with those.
const (
	rtmNewLink  = 16
	rtmDelLink  = 17
	rtmNewRoute = 24
	rtmDelRoute = 25
	rtmNewNeigh = 28
	rtmDelNeigh = 29
)

// A subscription is what a caller gave: the options of all four kinds are the
// same.
type subscription struct {
	namespace *netns.NsHandle
	done      <-chan struct{}
	failed    func(error)
	buffer    int
	timeout   *unix.Timeval
}

// subscribe sends what each makes of the kernel's messages to ch, first what list
// returns, until done is closed or reading fails. Then it closes ch. list is called when
// the kernel tells of changes already, so that none is missed between. One goroutine
// reads, and one waits for done if there is one.
func subscribe[T any](ch chan<- T, s subscription, list func() ([]T, error), each func(bsd.Message) ([]T, error)) error {
	if s.namespace != nil && *s.namespace != -1 {
		return fmt.Errorf("subscribe in namespace %d: %w", *s.namespace, notImplemented("namespaces"))
	}
	f, err := s.open()
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	first, err := list()
	if err != nil {
		return errors.Join(fmt.Errorf("subscribe: %w", err), f.Close())
	}
	stopped := make(chan struct{})
	if s.done != nil {
		go func() {
			select {
			case <-s.done:
			case <-stopped:
			}
			_ = f.Close() // which ends the read; nothing was written
		}()
	}
	go func() {
		defer close(ch)
		defer close(stopped)
		s.deliver(f, func(m bsd.Message) bool {
			updates, err := each(m)
			if err != nil {
				s.report(err)
			}
			return emit(ch, s.done, updates)
		}, emit(ch, s.done, first))
		if s.done == nil {
			_ = f.Close()
		}
	}()
	return nil
}

// emit sends updates; false: done came first.
func emit[T any](ch chan<- T, done <-chan struct{}, updates []T) bool {
	for _, u := range updates {
		select {
		case ch <- u:
		case <-done:
			return false
		}
	}
	return true
}

// deliver reads messages until one is not taken, or reading fails.
func (s subscription) deliver(f *os.File, take func(bsd.Message) bool, more bool) {
	b := make([]byte, maxMessage)
	for more {
		if s.timeout != nil {
			if err := f.SetReadDeadline(time.Now().Add(time.Duration(s.timeout.Nano()))); err != nil {
				s.report(err)
				return
			}
		}
		n, err := f.Read(b)
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case errors.Is(err, unix.ENOBUFS): // messages were lost; there will be others
			s.report(fmt.Errorf("receive: %w", err))
			continue
		case err != nil:
			s.report(fmt.Errorf("receive: %w", err))
			return
		}
		m, _, err := bsd.Parse(b[:n])
		if err != nil {
			s.report(err)
			continue
		}
		if r, ok := m.(*bsd.RouteMsg); m == nil || ok && (r.Errno != 0 || r.Type == bsd.RtmGet) {
			continue // not of this package, a request that failed, or one that changes nothing
		}
		more = take(m)
	}
}

func (s subscription) report(err error) {
	if s.failed != nil {
		s.failed(err)
	}
}

// open makes the socket. It does not block, so that closing the file ends a read.
func (s subscription) open() (*os.File, error) {
	fd, err := open(unix.AF_ROUTE, unix.SOCK_RAW, 0)
	if err != nil {
		return nil, err
	}
	if s.buffer > 0 {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, s.buffer))
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "routing socket"), nil
}
