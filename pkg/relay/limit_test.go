package relay_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// within reports whether what passed in a time is what the rate allows in it
// beside the burst. A busy machine keeps it lower, so that
// the lower bound only tells that something passes.
func within(t *testing.T, bits, rate, burst float64, took time.Duration) {
	t.Helper()
	if r := (bits - burst) / took.Seconds() / rate; r < 0.3 || r > 1.05 {
		t.Errorf("%.2f Mbit in %v: %.3f of the rate", bits/1e6, took, r)
	}
}

func TestLimitToGuest(t *testing.T) {
	const rate, burst, size = 40e6, 2e6, 1514
	for i, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			b := newLimitedBench(t, i, size, relay.Limits{ToGuest: relay.Limit{Rate: rate, Burst: burst}})
			start := time.Now()
			const frames = 8000
			go func() { // offers at least twice the rate
				for n := 0; n < frames; n += 100 {
					b.pour(100)
					time.Sleep(100 * size * 8 * time.Second / (4 * rate))
				}
			}()
			count := func() relay.Direction { return b.Stats().ToGuest }
			go func() { // until the port is closed
				bufs, sizes := relay.NewBuffers(64, size), make([]int, 64)
				for {
					if _, err := b.guest.ReadBatch(bufs, sizes); err != nil {
						return
					}
				}
			}()
			eventually(t, "all frames seen", func() bool {
				d := count()
				return d.Frames+d.Drops["rate-limit"] == frames
			})
			d, took := count(), time.Since(start)
			if d.Drops["rate-limit"] == 0 {
				t.Error("nothing was dropped at more than the rate")
			}
			within(t, float64(8*d.Bytes), rate, burst, took)
		})
	}
}

func TestLimitFromGuest(t *testing.T) {
	const rate, burst, size = 40e6, 2e6, 1514
	for i, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			b := newLimitedBench(t, i, size, relay.Limits{FromGuest: relay.Limit{Rate: rate, Burst: burst}})
			start := time.Now()
			b.writer(t)(1500)
			took := time.Since(start)
			d := b.Stats().FromGuest
			if len(d.Drops) != 0 {
				t.Errorf("drops %v: want the guest to wait", d.Drops)
			}
			within(t, float64(8*d.Bytes), rate, burst, took)
		})
	}
}

// A frame that would wait longer than is good is dropped, and what it would have
// paid for is there for a later one.
func TestLimitSlow(t *testing.T) {
	const size = 1514
	b := newLimitedBench(t, 0, size, relay.Limits{FromGuest: relay.Limit{Rate: 20e3}}) // a frame takes 0.6 s
	for range 6 {
		if _, err := b.guest.WriteBatch(relay.NewBuffers(1, size)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "six frames passed or dropped", func() bool {
		d := b.Stats().FromGuest
		return d.Frames >= 3 && d.Drops["rate-limit"] > 0 && d.Frames+d.Drops["rate-limit"] == 6
	})
}

// A guest that is replaced does not hold up the next one.
func TestLimitReplace(t *testing.T) {
	b := newLimitedBench(t, 0, 1514, relay.Limits{FromGuest: relay.Limit{Rate: 1000}})
	if _, err := b.guest.WriteBatch(relay.NewBuffers(20, 1514)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a frame", func() bool { return b.Stats().FromGuest.Frames > 0 })
	ours, _ := socketpair(t, framings[0].typ)
	p, err := framings[0].open(ours, 1514)
	if err != nil {
		t.Fatal(err)
	}
	b.Attach(p, "second")
	eventually(t, "the first guest's frames dropped", func() bool { return b.Stats().FromGuest.Drops["other-peer"] > 0 })
}

// A burst alone is no limit: containerd sends one with a rate of zero.
func TestLimitOff(t *testing.T) {
	off := relay.Limit{Burst: 1<<32 - 1}
	b := newLimitedBench(t, 0, 1514, relay.Limits{FromGuest: off, ToGuest: off})
	read := b.reader(t)
	b.grind(5000)
	read(5000)
	b.writer(t)(5000)
	if s := b.Stats(); len(s.FromGuest.Drops)+len(s.ToGuest.Drops) != 0 {
		t.Errorf("stats %+v", s)
	}
}

// Close does not wait for frames that wait for a limit.
func TestLimitClose(t *testing.T) {
	const size = 1514
	slow := relay.Limit{Rate: 1000}
	b := newLimitedBench(t, 0, size, relay.Limits{FromGuest: slow, ToGuest: slow})
	if _, err := b.guest.WriteBatch(relay.NewBuffers(20, size)); err != nil {
		t.Fatal(err)
	}
	b.grind(20)
	eventually(t, "the two frames of the bucket in both directions", func() bool {
		s := b.Stats()
		return s.FromGuest.Frames == 2 && s.ToGuest.Frames == 2
	})
	start := time.Now()
	if err := b.Relay.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}

// Without a peer a limited relay keeps nothing.
func TestLimitNoPeer(t *testing.T) {
	g := newRig(t, 0, relay.Config{Limits: relay.Limits{ToGuest: relay.Limit{Rate: 1e6}}})
	for n := range 3 {
		if err := g.far.Write(frame(100, n)); err != nil {
			t.Fatal(err)
		}
	}
	wantDrop(t, g.toGuest, relay.ReasonNoPeer, 3)
	theirs := g.attach(t, framings[0].typ, framings[0].open)
	want := frame(100, 9)
	if err := g.far.Write(want); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	n, err := theirs.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	wantFrame(t, buf[:n], want)
}

// Frames keep their order and content through the queue.
func TestLimitKeepsOrder(t *testing.T) {
	g := newRig(t, 0, relay.Config{Limits: relay.Limits{ToGuest: relay.Limit{Rate: 10e6}}})
	theirs := g.attach(t, framings[0].typ, framings[0].open)
	const frames = 300
	go func() {
		for n := range frames {
			for {
				// A few at a time, so that none is dropped.
				err := g.far.Write(frame(1000, n))
				if err == nil {
					break
				}
				if !errors.Is(err, vmnet.BufferExhausted) {
					t.Error(err)
					return
				}
			}
			time.Sleep(900 * time.Microsecond)
		}
	}()
	buf := make([]byte, 2000)
	for n := range frames {
		k, err := theirs.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		wantFrame(t, buf[:k], frame(1000, n))
	}
}

// With limits no frame costs an allocation either.
func TestLimitNoAllocations(t *testing.T) {
	const size, frames = 1514, 64
	wide := relay.Limit{Rate: 100e9, Burst: 1e9}
	for i, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			b := newLimitedBench(t, i, size, relay.Limits{FromGuest: wide, ToGuest: wide})
			read, write := b.reader(t), b.writer(t)
			for name, do := range map[string]func(){
				"to the guest":   func() { b.grind(frames); read(frames) },
				"from the guest": func() { write(frames) },
			} {
				if n := testing.AllocsPerRun(100, do); n != 0 {
					t.Errorf("%s: %v allocations for %d frames", name, n, frames)
				}
			}
		})
	}
}

// BenchmarkLimit has a limit that is never reached: what it costs is the counting.
func BenchmarkLimit(b *testing.B) {
	wide := relay.Limit{Rate: 1e12, Burst: 1e12}
	for _, limits := range []relay.Limits{{}, {FromGuest: wide, ToGuest: wide}} {
		name := fmt.Sprintf("on=%v", limits.ToGuest.Rate > 0)
		b.Run("ToGuest/"+name, func(b *testing.B) {
			r := newLimitedBench(b, 0, 1514, limits)
			read := r.reader(b)
			b.ReportAllocs()
			r.grind(100)
			read(100)
			b.ResetTimer()
			for n := b.N; n > 0; n -= 64 { // in portions that the queue takes
				r.grind(min(n, 64))
				read(min(n, 64))
			}
			b.StopTimer()
			report(b, 1514)
		})
		b.Run("FromGuest/"+name, func(b *testing.B) {
			r := newLimitedBench(b, 0, 1514, limits)
			write := r.writer(b)
			write(100)
			b.ReportAllocs()
			b.ResetTimer()
			write(b.N)
			b.StopTimer()
			report(b, 1514)
		})
	}
}
