package framework_test

import (
	"fmt"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

// benchDevice starts a device whose frames of the given size go nowhere and come
// without end, from libvmnet in the mode traffic.
func benchDevice(b *testing.B, traffic int64, size int) vmnet.Device {
	b.Helper()
	l := load(b, macOS26)
	l.control(b, "source.size", int64(size))
	l.control(b, "traffic", traffic)
	cfg := shared("bench")
	cfg.Offload = size > 1514
	return start(b, l.driver(b, framework.Config{}), cfg)
}

var benchSizes = []struct{ size, batch int }{
	{60, 1}, {60, 64}, {1514, 1}, {1514, 64}, {1514, 128}, {65550, 1}, {65550, 16},
}

// BenchmarkReadBatch reads from a source; ns/op is the time of one frame.
func BenchmarkReadBatch(b *testing.B) {
	for _, c := range benchSizes {
		b.Run(fmt.Sprintf("%dx%dB", c.batch, c.size), func(b *testing.B) {
			dev := benchDevice(b, 2, c.size)
			bufs, sizes := buffers(dev.Info(), c.batch)
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				got, err := dev.ReadBatch(bufs, sizes)
				if err != nil {
					b.Fatal(err)
				}
				n += got
			}
		})
	}
}

// BenchmarkWriteBatch writes to a sink; ns/op is the time of one frame.
func BenchmarkWriteBatch(b *testing.B) {
	for _, c := range benchSizes {
		b.Run(fmt.Sprintf("%dx%dB", c.batch, c.size), func(b *testing.B) {
			dev := benchDevice(b, 1, c.size)
			frames := make([][]byte, c.batch)
			for i := range frames {
				frames[i] = broadcast(dev.Info(), c.size)
			}
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				sent, err := dev.WriteBatch(frames)
				if err != nil {
					b.Fatal(err)
				}
				n += sent
			}
		})
	}
}

// BenchmarkEvent measures a coalesced event whose handler reads until nothing is
// left: one round through the framework's queue and back.
func BenchmarkEvent(b *testing.B) {
	dev := benchDevice(b, 3, 60)
	bufs, sizes := buffers(dev.Info(), 4)
	done := make(chan struct{}, 1)
	if err := dev.SetEventHandler(func() {
		got := false
		for {
			if _, err := dev.ReadBatch(bufs, sizes); err != nil {
				break
			}
			got = true
		}
		if got {
			done <- struct{}{}
		}
	}); err != nil {
		b.Fatal(err)
	}
	frame := [][]byte{broadcast(dev.Info(), 98)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dev.WriteBatch(frame); err != nil {
			b.Fatal(err)
		}
		<-done
	}
}

// TestNoAllocation sees that reading and writing allocate nothing.
func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has sync.Pool drop what it holds")
	}
	l := load(t, macOS26)
	l.control(t, "traffic", 2)
	dev := start(t, l.driver(t, framework.Config{}), shared("alloc"))
	bufs, sizes := buffers(dev.Info(), 16)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := dev.ReadBatch(bufs, sizes); err != nil {
			t.Fatal(err)
		}
	}); n >= 1 {
		t.Errorf("ReadBatch: %v allocations", n)
	}
	l.control(t, "traffic", 1)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := dev.WriteBatch(bufs); err != nil {
			t.Fatal(err)
		}
	}); n >= 1 {
		t.Errorf("WriteBatch: %v allocations", n)
	}
}
