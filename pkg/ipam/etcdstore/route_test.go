package etcdstore_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/etcdstore"
)

// A line is a way to etcd that can fall silent, as one to a member that is cut
// off: connections stay, and nothing comes through.
type line struct {
	l    net.Listener
	to   string // unix socket
	wg   sync.WaitGroup
	open chan struct{} // closed: passes no more
	back atomic.Int64  // bytes from etcd

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &line{l: l, to: to, open: make(chan struct{})}
	n.wg.Go(n.accept)
	t.Cleanup(n.close)
	return n
}

// close ends it as a member that dies. It is idempotent.
func (n *line) close() {
	_ = n.l.Close()
	n.mu.Lock()
	n.closed = true
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.mu.Unlock()
	n.wg.Wait()
}

func (n *line) accept() {
	for {
		in, err := n.l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", n.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		n.mu.Lock()
		n.conns = append(n.conns, in, out)
		closed := n.closed
		n.mu.Unlock()
		if closed {
			_, _ = in.Close(), out.Close()
			return
		}
		n.wg.Go(func() { n.pass(out, in) })
		n.wg.Go(func() { n.pass(in, out) })
	}
}

func (n *line) pass(to, from net.Conn) {
	buf := make([]byte, 4096)
	for {
		k, err := from.Read(buf)
		select {
		case <-n.open:
			_, _ = io.Copy(io.Discard, from)
			return
		default:
		}
		if err == nil {
			_, err = to.Write(buf[:k])
		}
		if from.LocalAddr().Network() == "unix" {
			n.back.Add(int64(k))
		}
		if err != nil {
			_, _ = to.Close(), from.Close()
			return
		}
	}
}

func (n *line) used() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns) > 0
}

// TestSilentMember: one member is asked at a time, and one that falls silent costs
// one part of the time-out, once.
func TestSilentMember(t *testing.T) {
	t.Parallel()
	endpoint, _ := single(t, fastDir(t))
	ready(t, open(t, etcdstore.Config{Endpoints: []string{endpoint}}))
	var lines []*line
	var endpoints []string
	for range 3 {
		n := newLine(t, strings.TrimPrefix(endpoint, "unix://"))
		lines, endpoints = append(lines, n), append(endpoints, "http://"+n.l.Addr().String())
	}
	const timeout = 40 * time.Second // a part of it is 5 s, longer than a machine stalls
	s := open(t, etcdstore.Config{Endpoints: endpoints, Timeout: timeout, Prefix: "/silent/"})
	ask := func() time.Duration {
		begin := time.Now()
		err := s.Transact(context.Background(), ipam.ReadOnly, func(tx ipam.Tx) error {
			_, err := tx.Get(ipam.TableLeases, []byte("n\x00k"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return time.Since(begin)
	}
	ask()
	silent := 0
	for _, n := range lines {
		if n.used() {
			silent++
			close(n.open)
		}
	}
	if silent != 1 {
		t.Errorf("%d members have a connection, want one", silent)
	}
	first := ask()
	if first < timeout/8 || first > timeout/2 {
		t.Errorf("with the member silent the first request took %s, want a little more than %s", first, timeout/8)
	}
	slow := 0
	for range 20 {
		if took := ask(); took > timeout/9 {
			slow++
		}
	}
	if slow > 2 { // of twenty a third goes to the silent one where all are asked in turn
		t.Errorf("%d of 20 later requests took longer than %s", slow, timeout/9)
	}
	t.Logf("the first request took %s", first)
}
