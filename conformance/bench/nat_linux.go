package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// rttSlice is how long a round-trip measurement takes.
const rttSlice = 250 * time.Millisecond

// samples are what the rounds saw of one contender.
type samples struct {
	up, down, rtt  []float64 // Gbit/s, Gbit/s, µs
	upCPU, downCPU []float64 // seconds for each gigabyte
}

// runNAT measures guests behind every contender, in turns.
func runNAT(ctx context.Context, o options, r *report) error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces and taps need root")
	}
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	var all []contender
	for _, s := range setUps() {
		if !strings.Contains(s.name, o.who) {
			continue
		}
		c, err := s.make(w, o)
		if err == nil {
			_, err = w.measure(c.guest, echo, 50*time.Millisecond) // it works, and is warm
		}
		if err != nil {
			r.leftOut("nat: "+s.name, err)
			continue
		}
		all = append(all, c)
	}
	seen := map[string]*samples{}
	for _, c := range all {
		seen[c.name] = &samples{}
	}
	for i := range o.rounds {
		for k := range all {
			c := all[(i+k)%len(all)] // another one begins each time
			if err := w.round(o, c, seen[c.name]); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				r.leftOut(fmt.Sprintf("nat: %s, round %d", c.name, i+1), err)
			}
		}
	}
	if len(all) == 0 {
		return fmt.Errorf("no contender whose name has %q", o.who)
	}
	natTable(r, all, seen)
	if o.who == "" {
		natGoals(r, seen)
		w.twoGuests(o, r)
	}
	return nil
}

// round gives a contender one turn at everything.
func (w *world) round(o options, c contender, s *samples) error {
	one := func(mode byte, rate, cpu *[]float64) error {
		before := cpuTime(c.pid)
		t, err := w.measure(c.guest, mode, o.slice)
		if err != nil {
			return err
		}
		used := cpuTime(c.pid) - before
		*rate = append(*rate, float64(t.Bytes)*8/float64(t.Nanos))
		// Warm-up and end cost too, but as much for everybody.
		*cpu = append(*cpu, used/(float64(t.Bytes)*float64(o.slice+warmUp)/float64(o.slice)/1e9))
		return nil
	}
	if err := errors.Join(one(upload, &s.up, &s.upCPU), one(download, &s.down, &s.downCPU)); err != nil {
		return err
	}
	t, err := w.measure(c.guest, echo, rttSlice)
	s.rtt = append(s.rtt, t.RTT)
	return err
}

func natTable(r *report, all []contender, seen map[string]*samples) {
	t := &table{
		Title: "A guest behind an address translator, MTU 1500, no offload; medians", File: "nat",
		Columns: []string{"guest → outside, Gbit/s", "outside → guest, Gbit/s", "TCP round trip, µs", "CPU s/GB →", "CPU s/GB ←"},
		Plot:    []int{0, 1, 2},
	}
	for _, c := range all {
		s := seen[c.name]
		v := []float64{median(s.up), median(s.down), median(s.rtt), median(s.upCPU), median(s.downCPU)}
		if c.pid == 0 {
			v[3], v[4] = -1, -1
		}
		t.Rows = append(t.Rows, row{c.name, c.ours, v})
	}
	r.Tables = append(r.Tables, t)
}

// natGoals compares like with like: sockets with the peers that have sockets, and
// a tap, which is what a user of slirp4netns would take instead, with all.
func natGoals(r *report, seen map[string]*samples) {
	for _, way := range []struct {
		name string
		of   func(*samples) []float64
	}{{"→", func(s *samples) []float64 { return s.up }}, {"←", func(s *samples) []float64 { return s.down }}} {
		rates := func(name string) []float64 {
			if s := seen[name]; s != nil {
				return way.of(s)
			}
			return nil
		}
		r.atLeast("netstack : gvproxy, stream "+way.name, ratio(rates(oursStream), rates("gvproxy, stream")), 2)
		r.atLeast("netstack : gvproxy, datagrams "+way.name, ratio(rates(oursDgram), rates("gvproxy, datagrams")), 2)
		if p := rates("passt"); p != nil {
			r.atLeast(oursBridged+" : passt "+way.name, ratio(rates(oursBridged), p), 1)
		}
		best, whose := -1.0, ""
		for _, name := range []string{"gvproxy, datagrams", "gvproxy, stream", "passt", "slirp4netns"} {
			if m := median(rates(name)); m > best {
				best, whose = m, name
			}
		}
		mine := oursTap
		if strings.Contains(whose, "passt") || strings.Contains(whose, "gvproxy") { // have a socket in front
			mine = oursStream
		}
		r.atLeast(fmt.Sprintf("%s : best of the peers (%s) %s", mine, whose, way.name), ratio(rates(mine), rates(whose)), 1)
	}
	if m := seen[oursTap]; m != nil {
		for _, name := range []string{kernelName, kernelTap} {
			if k := seen[name]; k != nil {
				r.atMost(oursTap+" : "+name+", TCP round trip", ratio(m.rtt, k.rtt), 1.5)
			}
		}
	}
}
