package stages_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/dhcp"
	"github.com/vmnet-cni/vmnet/pkg/guard"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

var mac = net.HardwareAddr{0x02, 0, 0, 0, 0, 9}

// tcp returns a frame with a TCP segment of the guest to somewhere.
func tcp(size int) []byte {
	f := make([]byte, size)
	copy(f[0:], []byte{0x02, 0, 0, 0, 0, 1})
	copy(f[6:], mac)
	copy(f[12:], []byte{0x08, 0x00, 0x45, 0})
	f[16], f[17] = byte((size-14)>>8), byte(size-14)
	f[22], f[23] = 64, 6
	copy(f[26:], []byte{10, 0, 0, 9, 1, 1, 1, 1})
	return f
}

// stages are those of an attachment with both families, as the shim makes them,
// with a guard that has everything to do.
func stages(b *testing.B) []relay.Stage {
	b.Helper()
	addr := netip.MustParsePrefix("10.0.0.9/24")
	g, err := guard.New(vmnet.Guard{
		MAC: true, IP: true, DHCP: true, RA: true, Addrs: []netip.Addr{addr.Addr()},
		Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		Deny:  []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("192.168.0.0/16")},
	}, guard.Config{MAC: mac, Local: []netip.Prefix{addr.Masked()}})
	if err != nil {
		b.Fatal(err)
	}
	four, err := dhcp.New(dhcp.Config{GuestMAC: mac, Addr: addr, Gateway: netip.MustParseAddr("10.0.0.1")})
	if err != nil {
		b.Fatal(err)
	}
	six, err := dhcp.NewV6(dhcp.ConfigV6{GuestMAC: mac, Addr: netip.MustParsePrefix("fd00::9/64"), Router: true})
	if err != nil {
		b.Fatal(err)
	}
	return []relay.Stage{g, four, six}
}

// BenchmarkStages moves frames of a guest through a relay with all stages and
// through one without, in turns, and reports the throughput with, relative to that
// without. Counters and the hook of captures cannot be taken out: both sides have
// them. The goal is 0.9.
func BenchmarkStages(b *testing.B) {
	for _, size := range []int{64, 1514} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := tcp(size)
			sides := [2]*side{newSide(b, f, nil), newSide(b, f, stages(b))}
			for _, s := range sides {
				s.send(b, 1000)
			}
			b.ReportAllocs()
			var ratios []float64
			for b.Loop() {
				var took [2]time.Duration
				for i, s := range sides {
					start := time.Now()
					s.send(b, 4096)
					took[i] = time.Since(start)
				}
				ratios = append(ratios, float64(took[0])/float64(took[1]))
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "stages:bare")
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
	b.Cleanup(func() {
		_ = s.guest.Close()
		_ = r.Close()
	})
	return s
}

// send sends n frames and waits until the device has them.
func (s *side) send(b *testing.B, n int) {
	b.Helper()
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
	return vmnet.Info{MAC: mac, MTU: 1500, MaxPacketSize: s.size, ReadBatch: 64, WriteBatch: 64}
}

func (s *sink) ReadBatch([][]byte, []int) (int, error) { return 0, vmnet.ErrNoPackets }

func (s *sink) WriteBatch(frames [][]byte) (int, error) {
	s.got.Add(int64(len(frames)))
	return len(frames), nil
}

func (s *sink) SetEventHandler(func()) error { return nil }

func (s *sink) Close() error { return nil }
