package relay_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/relay"
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
