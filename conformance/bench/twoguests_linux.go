package main

import (
	"runtime"
	"time"
)

// twoGuests measures two guests of one shim at once beside one alone, in turns.
func (w *world) twoGuests(o options, r *report) {
	var guests [2]string
	s, err := startShim(w, o, "two")
	for i, id := range []string{"one", "two"} {
		if err == nil {
			guests[i], err = s.attach(w, "netstack", "tap", id)
		}
	}
	t := &table{Title: "Two guests of one shim at once, tap; medians", Columns: []string{"one alone, Gbit/s", "two together, Gbit/s", "two : one"}}
	for _, way := range []struct {
		name string
		mode byte
	}{{"guest → outside", upload}, {"outside → guest", download}} {
		var one, two []float64
		for i := 0; i < o.rounds && err == nil; i++ {
			var a traffic
			var sum float64
			if a, err = w.measure(guests[0], way.mode, o.slice); err == nil {
				sum, err = w.together(guests, way.mode, o.slice)
			}
			one, two = append(one, float64(a.Bytes)*8/float64(a.Nanos)), append(two, sum)
		}
		if err != nil {
			r.leftOut("nat: two guests", err)
			return
		}
		t.Rows = append(t.Rows, row{way.name, true, []float64{median(one), median(two), ratio(two, one)}})
		// Each guest's own TCP/IP needs a core as well.
		if runtime.NumCPU() >= 4 {
			r.atLeast("two guests : one, "+way.name, ratio(two, one), 1.6)
		}
	}
	r.Tables = append(r.Tables, t)
}

// together measures both at once and returns the sum in Gbit/s.
func (w *world) together(guests [2]string, mode byte, long time.Duration) (sum float64, err error) {
	type result struct {
		t   traffic
		err error
	}
	ended := make(chan result, len(guests))
	for _, g := range guests {
		go func() {
			t, err := w.measure(g, mode, long)
			ended <- result{t, err}
		}()
	}
	for range guests {
		e := <-ended
		if e.err != nil {
			err = e.err
			continue
		}
		sum += float64(e.t.Bytes) * 8 / float64(e.t.Nanos)
	}
	return sum, err
}
