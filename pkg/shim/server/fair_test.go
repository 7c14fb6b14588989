package server_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A vm is a guest of one attachment that moves frames as fast as it can.
type vm struct {
	net.Conn
	shim.Attachment
	got atomic.Int64 // frames of neighbours
}

func newVM(t *testing.T, r *running, id, kind string) *vm {
	t.Helper()
	v := &vm{Attachment: r.attach("n", id, shim.AttachRequest{Frames: kind})}
	_, f, err := r.Frames(t.Context(), "n", id, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	v.Conn = conn(t, f)
	return v
}

// to returns a frame of size bytes.
func (v *vm) to(dst string, typ uint16, size int) []byte {
	d, _ := net.ParseMAC(dst)
	s, _ := net.ParseMAC(v.MAC)
	f := make([]byte, max(size, 14))
	copy(f, d)
	copy(f[6:], s)
	binary.BigEndian.PutUint16(f[12:], typ)
	return f
}

const (
	etherTest = 0x88b5 // IEEE 802, for experiments
	everybody = "ff:ff:ff:ff:ff:ff"
)

// stream sends to a neighbour, and the neighbour counts, until the test ends.
func stream(wg *sync.WaitGroup, from, to *vm) {
	f := from.to(to.MAC, etherTest, 1514)
	wg.Go(func() {
		for {
			if _, err := from.Write(f); errors.Is(err, net.ErrClosed) {
				return
			}
		}
	})
	wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, err := to.Read(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if n == 1514 && binary.BigEndian.Uint16(buf[12:]) == etherTest {
				to.got.Add(1)
			}
		}
	})
}

// udpOf returns a frame with a datagram of the guest to the gateway's network.
func (v *vm) udpOf(gateway string, dst netip.AddrPort, src uint16) []byte {
	f := v.to(gateway, 0x0800, 14+20+8+4)
	ip := f[14:]
	ip[0], ip[3], ip[8], ip[9] = 0x45, 32, 64, 17
	copy(ip[12:], v.IPs[0].Address.Addr().AsSlice())
	copy(ip[16:], dst.Addr().AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(ip[20:], src)
	binary.BigEndian.PutUint16(ip[22:], dst.Port())
	binary.BigEndian.PutUint16(ip[24:], 12)
	return f
}

// Guests that misbehave cost their neighbours no more than their share of the
// processor, the shim stays up, and it holds no more than before in the end.
// VMNET_FAIR=1, on a quiet machine, makes the share a condition; it is told always.
func TestNeighboursKeepTheirShare(t *testing.T) {
	r := start(t, config(newDirs(t)))
	gateway := "" // its MAC
	attacks := []struct {
		name, kind string
		step       func(v *vm, buf []byte) error
	}{
		{"never reads", shim.FramesDgram, func(*vm, []byte) error { time.Sleep(time.Millisecond); return nil }},
		{"broadcasts", shim.FramesDgram, func(v *vm, _ []byte) error {
			_, err := v.Write(v.to(everybody, etherTest, 1514)[:1513])
			return err
		}},
		{"garbage", shim.FramesDgram, func(v *vm, buf []byte) error {
			n := rand.IntN(len(buf))
			for i := 0; i+8 < n; i += 8 {
				binary.BigEndian.PutUint64(buf[i:], rand.Uint64())
			}
			_, err := v.Write(buf[:n])
			return err
		}},
		{"100,000 flows", shim.FramesDgram, func(v *vm, _ []byte) error {
			n := rand.IntN(100_000)
			dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(n >> 16)}), uint16(1+n%1000))
			_, err := v.Write(v.udpOf(gateway, dst, uint16(1024+n/4)))
			return err
		}},
		{"half frames", shim.FramesStream, func(v *vm, _ []byte) error {
			f := v.to(everybody, etherTest, 600)
			_, err := v.Write(append([]byte{0, 0, 2, 88}, f[:rand.IntN(600)]...))
			return err
		}},
	}
	a, b := newVM(t, r, "a", shim.FramesDgram), newVM(t, r, "b", shim.FramesDgram)
	n, err := r.Networks(t.Context())
	if err != nil || len(n) != 1 {
		t.Fatal(n, err)
	}
	gateway = n[0].GatewayMAC
	var wg sync.WaitGroup
	defer wg.Wait()
	defer a.Close()
	defer b.Close()
	stream(&wg, a, b)
	rate := func() float64 {
		const window = 250 * time.Millisecond
		from, start := b.got.Load(), time.Now()
		time.Sleep(window)
		return float64(b.got.Load()-from) / time.Since(start).Seconds()
	}
	rate()
	for _, x := range attacks {
		t.Run(x.name, func(t *testing.T) {
			bad := newVM(t, r, "bad", x.kind)
			var alone, together float64
			for range 3 { // in turns, since the machine changes
				alone += rate()
				stop := make(chan struct{})
				var at sync.WaitGroup
				at.Go(func() {
					for buf := make([]byte, 3000); ; {
						select {
						case <-stop:
							return
						default:
						}
						if err := x.step(bad, buf); errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) {
							return // a stream out of step has ended
						}
					}
				})
				from := b.got.Load()
				together += rate()
				eventually(t, func() bool { return b.got.Load() > from }, func() string { return "no frame of a neighbour gets through" })
				close(stop)
				_ = bad.SetWriteDeadline(time.Now()) // in case it waits
				at.Wait()
				_ = bad.SetWriteDeadline(time.Time{})
			}
			share := together / (alone * 2 / 3) // two of three busy guests
			t.Logf("neighbours: %.0f frames/s alone, %.0f with it: %.2f of their share", alone/3, together/3, share)
			if os.Getenv("VMNET_FAIR") != "" && share < 0.9 {
				t.Errorf("neighbours have %.2f of their share, want 0.9", share)
			}
			if _, err := r.Status(t.Context()); err != nil {
				t.Error(err)
			}
			bad.Close()
			if err := r.Detach(t.Context(), "n", "bad", "eth0"); err != nil {
				t.Error(err)
			}
		})
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 256<<20 {
		t.Errorf("%d MiB in use in the end", m.HeapAlloc>>20)
	}
}
