package relay_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// ports returns both ends of a new socket as ports.
func ports(t testing.TB, typ int, open func(*os.File, int) (relay.Port, error), maxFrame int) (a, b relay.Port) {
	t.Helper()
	fa, fb := socketpair(t, typ)
	for f, p := range map[*os.File]*relay.Port{fa: &a, fb: &b} {
		var err error
		if *p, err = open(f, maxFrame); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*p).Close() })
	}
	return a, b
}

// Every frame arrives once, in order, whole, whatever the sizes.
func TestPortOrder(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			const size, total = relay.MaxStreamFrame, 500
			a, b := ports(t, fr.typ, fr.open, size)
			sizeOf := func(i int) int { return 18 + (i*7919)%(size-17) }
			in(func() {
				for i := 0; i < total; {
					batch := [][]byte{frame(sizeOf(i), i), frame(sizeOf(i+1), i+1)}
					n, err := a.WriteBatch(batch)
					if err != nil && !errors.Is(err, relay.ErrQueueFull) {
						t.Error(err)
						return
					}
					i += n
				}
			}, func() {
				for i := 0; i < total; {
					got, err := readBatch(b, size)
					if err != nil {
						t.Error(err)
						return
					}
					for _, f := range got {
						wantFrame(t, f, frame(sizeOf(i), i))
						i++
					}
				}
			})
		})
	}
}

func TestPortClose(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			a, _ := ports(t, fr.typ, fr.open, maxFrame)
			reading := make(chan error, 1)
			go func() {
				_, err := readBatch(a, maxFrame)
				reading <- err
			}()
			in(func() { a.Close() }, func() { a.Close() })
			if err := <-reading; !errors.Is(err, net.ErrClosed) {
				t.Errorf("read: %v", err)
			}
			if _, err := a.WriteBatch([][]byte{frame(60, 1)}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("write: %v", err)
			}
			if err := a.Close(); err != nil {
				t.Errorf("second close: %v", err)
			}
		})
	}
}

func TestPortPeerGone(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			a, b := ports(t, fr.typ, fr.open, maxFrame)
			b.Close()
			for range 2 { // the second error of the kernel is another than the first
				if n, err := a.WriteBatch([][]byte{frame(60, 1)}); n != 0 || !errors.Is(err, relay.ErrPeerGone) {
					t.Errorf("write: %d, %v", n, err)
				}
			}
			if fr.typ == unix.SOCK_STREAM {
				if _, err := readBatch(a, maxFrame); !errors.Is(err, io.EOF) {
					t.Errorf("read: %v", err)
				}
			}
		})
	}
}

// A full queue is told after the wait, and a frame of which the socket took a
// part arrives whole when the peer reads again, without another write.
func TestPortQueueFull(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			a, b := ports(t, fr.typ, fr.open, maxFrame)
			sent := 0
			for {
				n, err := a.WriteBatch([][]byte{frame(1000, sent), frame(1001, sent+1)})
				sent += n
				if err != nil {
					if !errors.Is(err, relay.ErrQueueFull) {
						t.Fatal(err)
					}
					break
				}
			}
			for i := 0; i < sent; {
				got, err := readBatch(b, maxFrame)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range got {
					wantFrame(t, f, frame(1000+i%2, i))
					i++
				}
			}
			if n, err := a.WriteBatch([][]byte{frame(60, sent)}); n != 1 || err != nil {
				t.Fatalf("afterwards: %d, %v", n, err)
			}
			got, err := readBatch(b, maxFrame)
			if err != nil || len(got) != 1 {
				t.Fatalf("afterwards: %d frames, %v", len(got), err)
			}
			wantFrame(t, got[0], frame(60, sent))
		})
	}
}

// A writer that waits for its peer does not hold up Close.
func TestPortCloseWhileFull(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			a, _ := ports(t, fr.typ, fr.open, maxFrame)
			done := make(chan error, 1)
			full := make(chan struct{})
			go func() {
				for first := true; ; {
					_, err := a.WriteBatch([][]byte{frame(1000, 0)})
					if first && errors.Is(err, relay.ErrQueueFull) {
						first = false
						close(full)
					}
					if err != nil && !errors.Is(err, relay.ErrQueueFull) {
						done <- err
						return
					}
				}
			}()
			<-full
			start := time.Now()
			a.Close()
			if took := time.Since(start); took > patience {
				t.Errorf("close took %v", took)
			}
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Errorf("write: %v", err)
			}
		})
	}
}

func TestPortFrameSize(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			a, b := ports(t, fr.typ, fr.open, maxFrame)
			for _, size := range []int{0, 1, 13, maxFrame + 1} {
				n, err := a.WriteBatch([][]byte{frame(60, 7), frame(size, 1), frame(60, 8)})
				if n != 1 || !errors.Is(err, relay.ErrFrameSize) {
					t.Errorf("%d bytes: %d, %v", size, n, err)
				}
				got, err := readBatch(b, maxFrame)
				if err != nil || len(got) != 1 {
					t.Fatalf("%d bytes: %d frames, %v", size, len(got), err)
				}
			}
		})
	}
}

// What cannot be a port is refused, and its descriptor closed all the same.
func TestPortRefusals(t *testing.T) {
	before := countFDs(t)
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	d, d2 := socketpair(t, unix.SOCK_DGRAM)
	s, s2 := socketpair(t, unix.SOCK_STREAM)
	q, q2 := socketpair(t, unix.SOCK_SEQPACKET)
	tests := []struct {
		name string
		open func(*os.File, int) (relay.Port, error)
		f    *os.File
		max  int
	}{
		{"no file", relay.NewDatagramPort, nil, maxFrame},
		{"pipe", relay.NewStreamPort, pipe, maxFrame},
		{"datagram as stream", relay.NewStreamPort, d, maxFrame},
		{"stream as datagram", relay.NewDatagramPort, s, maxFrame},
		{"seqpacket", relay.NewDatagramPort, q, maxFrame},
		{"no room for a header", relay.NewDatagramPort, d2, 13},
		{"already closed", relay.NewStreamPort, pipe, maxFrame},
	}
	for _, tt := range tests {
		if p, err := tt.open(tt.f, tt.max); err == nil {
			p.Close()
			t.Errorf("%s: no error", tt.name)
		} else {
			t.Log(err)
		}
	}
	s2.Close()
	q2.Close()
	eventually(t, "all descriptors closed", func() bool { return countFDs(t) <= before })
}
