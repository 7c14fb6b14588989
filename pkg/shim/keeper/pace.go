package keeper

import "time"

// How a shim that dies is started again.
const (
	MaxPause   = 5 * time.Second        // the longest pause before a start
	readyPause = 500 * time.Millisecond // the longest one after a shim that was ready: guests wait
	firstPause = 50 * time.Millisecond
	shortLife  = time.Second // a shim that was ready for less has not worked
	tooMany    = 10          // deaths within window that are told
	window     = time.Minute
)

// A pace says how long to wait before the next start. It does no waiting itself.
type pace struct {
	deaths []time.Time // the last tooMany
	short  int         // lives in a row that were too short
	count  int         // deaths ever
}

// died notes the end of a shim that was ready for so long, 0 if it never was, and
// returns the pause.
func (p *pace) died(now time.Time, worked time.Duration) time.Duration {
	p.count++
	p.deaths = append(p.deaths, now)
	if len(p.deaths) > tooMany {
		p.deaths = p.deaths[1:]
	}
	if worked >= shortLife {
		p.short = 0
		return 0
	}
	p.short++
	if p.short == 1 {
		return 0
	}
	longest := MaxPause
	if worked > 0 {
		longest = readyPause
	}
	return min(firstPause<<min(p.short-2, 10), longest)
}

// tooOften reports whether the last tooMany deaths lie within a window.
func (p *pace) tooOften(now time.Time) bool {
	return len(p.deaths) == tooMany && now.Sub(p.deaths[0]) < window
}
