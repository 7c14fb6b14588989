package cni

import (
	"math"
	"math/rand/v2"
	"time"
)

// killedADDs kills ADDs at random instants, as a runtime does that gives up, and
// then deletes what there may be. What is left is found by the accounts around
// the check.
func killedADDs(p *probe) {
	if p.target.Kills < 0 {
		p.skipf("no kills were asked for")
	}
	took := time.Duration(math.MaxInt64)
	for range 3 { // the best counts: one that was held up would spread the instants behind the end
		a := p.attachment(0)
		took = min(took, a.mustAdd().took)
		p.ok("DEL", a.del())
	}
	for range p.target.Kills {
		a := p.attachment(0)
		c := a.call("ADD")
		// A little longer than an ADD takes, so that its end is hit too.
		c.kill = max(time.Microsecond, time.Duration(rand.Int64N(int64(took)*12/10+1)))
		p.call(c)
		if !p.ok("DEL after a killed ADD", a.bare("DEL")) {
			return
		}
		a.dropDomain()
	}
	a := p.attachment(0)
	if p.ok("ADD after killed ones", a.add()) {
		p.ok("DEL", a.del())
	}
}

// bare executes the verb without a prevResult: a runtime that was cut off has
// none.
func (a *attachment) bare(verb string) *outcome { return a.run(a.call(verb)) }
