package relay_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// A gauge watches how much passes a limit.
type gauge struct {
	start, last time.Time
	bits        float64 // at last
	quick       bool    // a while was seen in which much of the rate passed
}

// look is shown how many bits have passed until now. What a bucket lets pass in some
// time is at most what the rate allows in it, beside the burst. A busy machine keeps
// it lower, so it is enough that a third of the rate passes in some while.
func (g *gauge) look(t *testing.T, bits, rate, burst float64) {
	t.Helper()
	now := time.Now() // after bits were counted
	if took := now.Sub(g.start); bits > burst+1.05*rate*took.Seconds() {
		t.Fatalf("%.2f Mbit in %v at %.0f Mbit/s and a burst of %.0f Mbit", bits/1e6, took, rate/1e6, burst/1e6)
	}
	if g.last.IsZero() {
		if bits > burst { // from here on it is the rate's
			g.last, g.bits = now, bits
		}
		return
	}
	took := now.Sub(g.last)
	if took < 100*time.Millisecond {
		return
	}
	g.quick = g.quick || (bits-g.bits)/took.Seconds() > 0.3*rate
	g.last, g.bits = now, bits
}

func TestLimitToGuest(t *testing.T) {
	const rate, burst, size = 40e6, 2e6, 1514
	for i, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			g := gauge{start: time.Now()}
			b := newLimitedBench(t, i, size, relay.Limits{ToGuest: relay.Limit{Rate: rate, Burst: burst}})
			go func() { // until the port is closed
				bufs, sizes := relay.NewBuffers(64, size), make([]int, 64)
				for {
					if _, err := b.guest.ReadBatch(bufs, sizes); err != nil {
						return
					}
				}
			}()
			count := func() relay.Direction { return b.Stats().ToGuest }
			sent := uint64(0)
			eventually(t, "most of the rate, and drops of what is more", func() bool {
				// At least twice the rate is offered.
				for due := uint64(2 * rate * time.Since(g.start).Seconds() / (8 * size)); sent < due+100; sent += 100 {
					b.pour(100)
				}
				d := count()
				g.look(t, float64(8*d.Bytes), rate, burst)
				return g.quick && d.Drops["rate-limit"] > 0 && d.Frames > 2000
			})
			eventually(t, "all frames seen", func() bool {
				d := count()
				return d.Frames+d.Drops["rate-limit"] == sent
			})
			g.look(t, float64(8*count().Bytes), rate, burst)
		})
	}
}

func TestLimitFromGuest(t *testing.T) {
	const rate, burst, size = 40e6, 2e6, 1514
	for i, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			g := gauge{start: time.Now()}
			b := newLimitedBench(t, i, size, relay.Limits{FromGuest: relay.Limit{Rate: rate, Burst: burst}})
			write, sent := b.writer(t), uint64(0)
			eventually(t, "most of the rate", func() bool {
				write(100)
				sent += 100
				g.look(t, float64(8*b.Stats().FromGuest.Bytes), rate, burst)
				return g.quick && sent >= 1500
			})
			eventually(t, "all counted", func() bool { return b.Stats().FromGuest.Frames == sent })
			if d := b.Stats().FromGuest; len(d.Drops) != 0 {
				t.Errorf("drops %v: want the guest to wait", d.Drops)
			}
		})
	}
}

// A frame that would wait longer than is good is dropped, and what it would have
// paid for is there for a later one.
func TestLimitSlow(t *testing.T) {
	const size = 1514
	b := newLimitedBench(t, 0, size, relay.Limits{FromGuest: relay.Limit{Rate: 20e3}}) // a frame takes 0.6 s
	sent, one := uint64(0), relay.NewBuffers(1, size)
	count := func() (passed, dropped uint64) {
		d := b.Stats().FromGuest
		return d.Frames, d.Drops["rate-limit"]
	}
	eventually(t, "a frame dropped and a third one passed", func() bool {
		passed, dropped := count()
		for ; sent < passed+dropped+4; sent++ { // so that some wait
			if _, err := b.guest.WriteBatch(one); err != nil {
				t.Fatal(err)
			}
		}
		return passed >= 3 && dropped > 0
	})
	eventually(t, "all frames passed or dropped", func() bool { passed, dropped := count(); return passed+dropped == sent })
}

// A guest that is replaced does not hold up the next one.
func TestLimitReplace(t *testing.T) {
	b := newLimitedBench(t, 0, 1514, relay.Limits{FromGuest: relay.Limit{Rate: 1000}})
	if _, err := b.guest.WriteBatch(relay.NewBuffers(600, 1514)); err != nil {
		t.Fatal(err)
	}
	// The first batches may be short and pass whole; then one of many frames waits.
	eventually(t, "frames that wait in vain", func() bool { return b.Stats().FromGuest.Drops["rate-limit"] >= 3 })
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

// Close does not wait for frames that wait for a limit: those of the guest would
// take 0.2 s each.
func TestLimitClose(t *testing.T) {
	const size = 1514
	slow := relay.Limit{Rate: 1000}
	b := newLimitedBench(t, 0, size, relay.Limits{FromGuest: slow, ToGuest: slow})
	if _, err := b.guest.WriteBatch(relay.NewBuffers(600, size)); err != nil {
		t.Fatal(err)
	}
	b.grind(600)
	eventually(t, "the two frames of the bucket in both directions", func() bool {
		s := b.Stats()
		return s.FromGuest.Frames >= 2 && s.ToGuest.Frames >= 2
	})
	closes(t, b.Relay)
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
	g.reaches(t, theirs, want)
}

// Frames keep their order and content through the queue.
func TestLimitKeepsOrder(t *testing.T) {
	g := newRig(t, 0, relay.Config{Limits: relay.Limits{ToGuest: relay.Limit{Rate: 10e6}}})
	theirs := g.attach(t, framings[0].typ, framings[0].open)
	// The bucket has room for 25 of them, so some wait in the queue, which has room
	// for more than there are on the way, as has the guest's socket: none is dropped.
	const frames, ahead = 300, 40
	buf := make([]byte, 2000)
	for n := range frames + ahead {
		if n < frames {
			if err := g.far.Write(frame(1000, n)); err != nil {
				t.Fatal(err)
			}
		}
		if n < ahead {
			continue
		}
		k, err := theirs.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		wantFrame(t, buf[:k], frame(1000, n-ahead))
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
