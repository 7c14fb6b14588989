package relay_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/vmnettest"
)

var benchSizes = []int{1514, 65550}

func report(b *testing.B, size int) {
	b.SetBytes(int64(size))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
	b.ReportMetric(float64(b.N)*float64(size)*8/b.Elapsed().Seconds()/1e9, "Gbit/s")
}

func BenchmarkToGuest(b *testing.B) {
	for i, fr := range framings {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", fr.name, size), func(b *testing.B) {
				r := newBench(b, i, size)
				read := r.reader(b)
				r.grind(100)
				read(100)
				b.ReportAllocs()
				b.ResetTimer()
				r.grind(b.N)
				read(b.N)
				b.StopTimer()
				report(b, size)
			})
		}
	}
}

func BenchmarkFromGuest(b *testing.B) {
	for i, fr := range framings {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", fr.name, size), func(b *testing.B) {
				r := newBench(b, i, size)
				write := r.writer(b)
				write(100)
				b.ReportAllocs()
				b.ResetTimer()
				write(b.N)
				b.StopTimer()
				report(b, size)
			})
		}
	}
}

// BenchmarkRoundTrip sends a small frame to the guest and waits for another from
// it, one at a time.
func BenchmarkRoundTrip(b *testing.B) {
	for i, fr := range framings {
		b.Run(fr.name, func(b *testing.B) {
			r := newBench(b, i, 98)
			read := r.reader(b)
			one := relay.NewBuffers(1, 98)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				want := r.got.Load() + 1
				r.grind(1)
				read(1)
				if _, err := r.guest.WriteBatch(one); err != nil {
					b.Fatal(err)
				}
				for r.got.Load() < want {
					time.Sleep(time.Microsecond)
				}
			}
		})
	}
}

// No frame costs an allocation, nor does a batch, in either direction, in either
// framing.
func TestNoAllocations(t *testing.T) {
	for i, fr := range framings {
		for _, size := range benchSizes {
			t.Run(fmt.Sprintf("%s/%d", fr.name, size), func(t *testing.T) {
				const frames = 64
				r := newBench(t, i, size)
				read, write := r.reader(t), r.writer(t)
				for name, do := range map[string]func(){
					"to the guest":   func() { r.grind(frames); read(frames) },
					"from the guest": func() { write(frames) },
				} {
					if n := testing.AllocsPerRun(100, do); n != 0 {
						t.Errorf("%s: %v allocations for %d frames", name, n, frames)
					}
				}
			})
		}
	}
}

// The same with the cable that all drivers are compared with, every frame checked
// out at the far end.
func TestNoAllocationsOnPair(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			near, far := vmnettest.Pair()
			r, err := relay.New(vmnet.NewInterface("test", near), relay.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer near.Close()
			defer far.Close()
			defer r.Close()
			host, guest := ports(t, fr.typ, fr.open, maxFrame)
			r.Attach(host, "fd")
			const n = 32
			frames, bufs, sizes := relay.NewBuffers(n, maxFrame), relay.NewBuffers(n, maxFrame), make([]int, n)
			drain := func(read func([][]byte, []int) (int, error)) {
				for left := n; left > 0; {
					k, err := read(bufs, sizes)
					if err != nil && !errors.Is(err, vmnet.ErrNoPackets) {
						t.Fatal(err)
					}
					if left -= k; k == 0 {
						time.Sleep(10 * time.Microsecond) // AllocsPerRun leaves one processor
					}
				}
			}
			if a := testing.AllocsPerRun(100, func() {
				if k, err := far.WriteBatch(frames); k != n || err != nil {
					t.Fatal(k, err)
				}
				drain(guest.ReadBatch)
			}); a != 0 {
				t.Errorf("to the guest: %v allocations for %d frames", a, n)
			}
			if a := testing.AllocsPerRun(100, func() {
				if k, err := guest.WriteBatch(frames); k != n || err != nil {
					t.Fatal(k, err)
				}
				drain(far.ReadBatch)
			}); a != 0 {
				t.Errorf("from the guest: %v allocations for %d frames", a, n)
			}
		})
	}
}
