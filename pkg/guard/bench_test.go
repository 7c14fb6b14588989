package guard_test

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// busy is a guard that has everything to do.
var busy = vmnet.Guard{MAC: true, IP: true, DHCP: true, RA: true, Addrs: all.Addrs,
	Allow: prefixes("0.0.0.0/0", "::/0"), Deny: prefixes("169.254.0.0/16", "192.168.0.0/16", "172.16.0.0/12", "fc00::/7")}

// traffic is what most frames are.
var traffic = map[string]func(size int) []byte{
	"tcp4": func(size int) []byte {
		return ip4{src: "10.0.0.9", dst: "1.1.1.1", proto: 6, data: make([]byte, size-34)}.frame()
	},
	"tcp6": func(size int) []byte {
		return ip6{src: "fd00::9", dst: "2001:db8::1", next: 6, data: make([]byte, size-54)}.frame()
	},
	"udp4": func(size int) []byte {
		return ip4{src: "10.0.0.9", dst: "10.0.0.1", proto: 17, data: append(udp(1000, 53), make([]byte, size-46)...)}.frame()
	},
}

func TestNoAllocations(t *testing.T) {
	g := newGuard(t, busy, nil)
	frames := seeds()
	for _, make := range traffic {
		frames = append(frames, make(64))
	}
	if n := testing.AllocsPerRun(1000, func() {
		for _, f := range frames {
			g.FromGuest(f, nil)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFromGuest(b *testing.B) {
	for name, make := range traffic {
		b.Run(name, func(b *testing.B) {
			g, f := newGuard(b, busy, nil), make(64)
			b.ReportAllocs()
			for b.Loop() {
				g.FromGuest(f, nil)
			}
		})
	}
}

// BenchmarkRelay moves frames of a guest through a relay with a guard and through
// one without, in turns, and reports the throughput with, relative to that without.
func BenchmarkRelay(b *testing.B) {
	for _, size := range []int{64, 1514} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := traffic["tcp4"](size)
			var sides [2]*side
			for i := range sides {
				var stages []relay.Stage
				if i == 1 {
					stages = append(stages, newGuard(b, busy, nil))
				}
				sides[i] = newSide(b, f, stages)
				sides[i].send(b, 1000)
			}
			b.ReportAllocs()
			const turn = 4096
			var took [2]time.Duration
			for b.Loop() {
				for i, s := range sides {
					start := time.Now()
					s.send(b, turn)
					took[i] += time.Since(start)
				}
			}
			b.ReportMetric(float64(took[0])/float64(took[1]), "of-unguarded")
			b.ReportMetric(float64(b.N*turn)/took[1].Seconds(), "frames/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// A side is a guest, a relay and a device that swallows frames.
type side struct {
	sink  *sink
	guest relay.Port
	batch [][]byte
}

func newSide(b *testing.B, f []byte, stages []relay.Stage) *side {
	b.Helper()
	s := &side{sink: &sink{size: max(len(f), 1514)}}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		b.Fatal(err)
	}
	var ports [2]relay.Port
	for i, fd := range fds {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20); err != nil {
			b.Fatal(err)
		}
		if ports[i], err = relay.NewDatagramPort(os.NewFile(uintptr(fd), "end"), s.sink.size); err != nil {
			b.Fatal(err)
		}
	}
	r, err := relay.New(vmnet.NewInterface("bench", s.sink), relay.Config{Stages: stages})
	if err != nil {
		b.Fatal(err)
	}
	r.Attach(ports[0], "fd")
	s.guest = ports[1]
	for range relay.BatchLen(s.sink.size) {
		s.batch = append(s.batch, f)
	}
	b.Cleanup(func() { s.guest.Close(); r.Close() })
	return s
}

// send sends n frames and waits until the device has them.
func (s *side) send(b *testing.B, n int) {
	end := s.sink.got.Load() + int64(n)
	for n > 0 {
		k, err := s.guest.WriteBatch(s.batch[:min(n, len(s.batch))])
		if err != nil && !errors.Is(err, relay.ErrQueueFull) {
			b.Fatal(err)
		}
		n -= k
	}
	for s.sink.got.Load() < end {
		time.Sleep(10 * time.Microsecond)
	}
}

// A sink is a device that swallows frames.
type sink struct {
	size int
	got  atomic.Int64
}

func (s *sink) Info() vmnet.Info {
	return vmnet.Info{MAC: mine, MTU: s.size - vmnet.HeaderLen, MaxPacketSize: s.size, ReadBatch: 128, WriteBatch: 128}
}

func (s *sink) ReadBatch([][]byte, []int) (int, error) { return 0, vmnet.ErrNoPackets }

func (s *sink) WriteBatch(frames [][]byte) (int, error) {
	s.got.Add(int64(len(frames)))
	return len(frames), nil
}

func (s *sink) SetEventHandler(func()) error { return nil }
func (s *sink) Close() error                 { return nil }
