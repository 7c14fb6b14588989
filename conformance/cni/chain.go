package cni

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/vmnet-cni/vmnet/conformance/cni/internal/double"
)

const srcLifecycle = "SPEC.md section 3, Lifecycle & Ordering"

// chainChecks are about lists and lifecycles: group L.
func chainChecks() []Check {
	return []Check{
		{ID: "L01", Level: Must, Grade: Compat, needs: needADD | needChain, do: inAList, Source: "SPEC.md section 3, Adding, Deleting and Checking an attachment",
			Sentence: "For all additional plugins, the previous result is the result of the previous plugins. The list of plugins is executed in reverse order. The previous result provided is always the final result of the add operation."},
		{ID: "L02", Level: Must, Grade: Compat, needs: needADD | needSTATUS, do: gcBesideADD, Source: srcLifecycle,
			Sentence: "If necessary, they must implement locking on shared resources. (A runtime must not run gc beside add; when one does, no valid attachment is lost.)"},
		{ID: "L03", Level: Must, Grade: Compat, needs: needADD, do: delNoCache, Source: srcLifecycle,
			Sentence: "The container runtime must ensure that add is eventually followed by a corresponding delete. (One that fell before it kept the result sends none, and everything is released.)"},
		{ID: "L04", Level: Library, Grade: Compat, needs: needADD | needChain, do: listFails, Source: "libcni keeps a result after the whole list succeeded",
			Sentence: "When a later plugin of a list fails, DEL comes without a result and undoes the ADD."},
		{ID: "L05", Level: Library, Grade: Compat, needs: needADD, do: otherConfig, Source: srcLifecycle,
			Sentence: "The network configuration should not change between add and delete. (When it does, DEL works all the same.)"},
	}
}

// inAList puts the plugin first, in the middle and last.
func inAList(p *probe) {
	for _, place := range []string{"first", "middle", "last"} {
		p.inPlace(place)
	}
}

func (p *probe) inPlace(place string) {
	a := p.attachment(0)
	before, after := p.standIn(double.Neighbour), p.standIn(double.Neighbour)
	before.behave(map[string]double.Behaviour{"ADD": {Result: a.foreign()}})
	after.behave(map[string]double.Behaviour{"ADD": {Append: object{"dns": object{"nameservers": []any{"192.0.2.77"}}}}})
	// Two doubles of one list are found by the same name, so only one of them
	// stands in it at a time, with its own directory in front.
	var d *standIn
	var list []object
	switch place {
	case "first":
		d, list = after, []object{a.conf(), {"type": after.name}}
	case "last":
		d, list = before, []object{{"type": before.name}, a.conf()}
	default:
		d = before
		list = []object{{"type": d.name}, a.conf(), {"type": d.name, "conformance": "behind"}}
		d.behave(map[string]double.Behaviour{"ADD": {Append: object{"dns": object{"nameservers": []any{"192.0.2.77"}}}}})
	}
	r := p.runtime(a, list, []string{d.dir}, nil)
	if !p.did("ADD, "+place+" in a list", r.add()) {
		return
	}
	p.ownSurvives(place, a)
	if _, ok := p.atLeast("0.4.0"); ok && p.checkWorks(a) {
		p.did("CHECK, "+place+" in a list", r.check())
	}
	final := a.result
	p.did("DEL, "+place+" in a list", r.del())
	p.order(place, d, list, final)
}

// ownSurvives demands that what the plugin made is in the final result. One that
// adjusts an interface makes none, and may pass the result on as it is.
func (p *probe) ownSurvives(place string, a *attachment) {
	if own, _ := a.own(); own == nil && p.target.Kind != KindAdjust {
		p.failf("%s in a list, the final result lacks the plugin's interface", place)
		p.seen = append(p.seen, p.normal(string(a.result)))
	}
}

// order demands that the neighbour saw what it must: the plugin's result with
// ADD when it stands behind, the final one with DEL.
func (p *probe) order(place string, d *standIn, list []object, final json.RawMessage) {
	adds, dels := d.calls("ADD"), d.calls("DEL")
	if want := len(list) - 1; len(adds) != want || len(dels) != want {
		p.failf("%s in a list, its neighbour is executed %d times with ADD and %d with DEL, want %d", place, len(adds), len(dels), want)
		return
	}
	if place != "last" && !strings.Contains(string(adds[len(adds)-1].Stdin), `"prevResult"`) {
		p.failf("%s in a list, the next plugin gets no prevResult", place)
	}
	var conf struct{ PrevResult json.RawMessage }
	if json.Unmarshal(dels[0].Stdin, &conf) != nil || !sameJSON(conf.PrevResult, final) {
		p.failf("%s in a list, DEL comes without the final result", place)
	}
}

// gcBesideADD runs GC, with all that is and will be valid, while ADDs run.
func gcBesideADD(p *probe) {
	var all []*attachment
	for range p.target.Parallel {
		all = append(all, p.attachment(0))
	}
	gc := p.attachment(0)
	keep := valid(validKey, all...)
	done := make(chan struct{})
	collected := make(chan []*outcome)
	go func() {
		var outs []*outcome
		for {
			outs = append(outs, gc.gc(keep))
			select {
			case <-done:
				collected <- outs
				return
			default:
			}
		}
	}()
	outs := together(all, func(a *attachment) *outcome { return a.add() })
	close(done)
	gcs := <-collected
	p.allOK("ADD beside GC", outs)
	p.allOK("GC beside ADD", gcs)
	if slices.ContainsFunc(outs, func(o *outcome) bool { return o.exit != 0 }) || !p.checkWorksAlone() {
		return
	}
	for _, a := range all {
		p.alive("GC beside ADD", a, true)
	}
}

// checkWorksAlone is checkWorks for an attachment of its own.
func (p *probe) checkWorksAlone() bool {
	works := false
	p.quietly(func(q *probe) {
		a := q.attachment(0)
		a.mustAdd()
		works = q.checkWorks(a)
	})
	return works
}

func delNoCache(p *probe) {
	a := p.attachment(0)
	before := p.take()
	a.mustAdd()
	p.ok("DEL without a result", a.bare("DEL"))
	p.released("DEL without a result", before)
	if _, ok := p.atLeast("0.4.0"); ok && p.target.Kind != KindAdjust && p.checkWorksAlone() {
		p.refused("CHECK after DEL without a result", a.check())
	}
}

func listFails(p *probe) {
	d := p.standIn(double.Neighbour)
	d.behave(map[string]double.Behaviour{"ADD": {Code: 123, Msg: "conformance: no"}})
	a := p.attachment(0)
	r := p.runtime(a, []object{a.conf(), {"type": d.name}}, []string{d.dir}, nil)
	before := p.take()
	if err := r.add(); err == nil {
		p.failf("ADD of a list whose last plugin fails: succeeds")
	}
	p.did("DEL of a list whose ADD failed", r.del())
	p.released("DEL of a list whose ADD failed", before)
	p.did("second DEL of a list whose ADD failed", r.del())
}

// otherConfig changes between ADD and DEL what an operator changes.
func otherConfig(p *probe) {
	a := p.attachment(0)
	before := p.take()
	a.mustAdd()
	p.ok("DEL with another configuration", a.del(with("dns", object{"nameservers": []any{"192.0.2.66"}}), without("capabilities"),
		with("runtimeConfig", object{})))
	p.released("DEL with another configuration", before)
}
