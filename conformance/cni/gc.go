package cni

import (
	"fmt"
	"strings"

	"github.com/vmnet-cni/vmnet/conformance/cni/internal/double"
)

const srcGC = "SPEC.md section 2, GC"

// validKey lists the attachments that are still valid. legacyKey is its name in
// the text of the 1.1.0 tag; libcni sends both.
const (
	validKey  = "cni.dev/valid-attachments"
	legacyKey = "cni.dev/attachments"
)

// gcChecks are about GC: group G.
func gcChecks() []Check {
	const needs = needADD | needSTATUS
	return []Check{
		{ID: "G01", Level: Should, Grade: Spec, needs: needs, do: gcStale, Source: srcGC,
			Sentence: "A plugin SHOULD remove as many stale resources as possible. For example, a plugin should remove any IPAM reservations associated with attachments not in the provided list."},
		{ID: "G02", Level: Must, Grade: Spec, needs: needDelegate | needSTATUS, do: gcDelegate, Source: srcGC,
			Sentence: "Plugins MUST, additionally, forward any GC calls to delegated plugins they are configured to use (see section 4)."},
		{ID: "G03", Level: Should, Grade: Compat, needs: needDelegate | needSTATUS, do: gcErrors, Source: srcGC,
			Sentence: "If an error is encountered, a plugin should continue; removing as many resources as possible, and report the errors back to the runtime."},
		{ID: "G04", Level: Should, Grade: Compat, needs: needs, do: gcEmpty, Source: srcGC,
			Sentence: "cni.dev/valid-attachments (array of objects): The list of still valid attachments to this network (An empty list: none is.)"},
		{ID: "G05", Level: Robust, Grade: Compat, needs: needs, do: gcSpellings, Source: "cnitool sends no list, ocicni sends null, and the tag of 1.1.0 calls the key cni.dev/attachments",
			Sentence: "null is an empty list; without any list a plugin removes all or refuses with code 7, but does not pretend; the key's old name is understood."},
		{ID: "G06", Level: Must, Grade: Compat, needs: needs, do: gcOtherNetworks, Source: srcGC,
			Sentence: "The GC command provides a way for runtimes to specify the expected set of attachments to a network. (To this one, and no other.)"},
		{ID: "G07", Level: Must, Grade: Compat, needs: needs, do: gcAgain, Source: srcGC,
			Sentence: "Plugins should generally complete a GC action without error. No output on success"},
		{ID: "G08", Level: Library, Grade: Compat, needs: needs | needChain, do: gcThroughLibcni, Source: "libcni, GCNetworkList deletes what it has cached and is not valid, then executes GC with both keys",
			Sentence: "GC works behind the DELs, and with both keys."},
	}
}

// gc executes GC on the network of a, with keys in its configuration.
func (a *attachment) gc(mods ...mod) *outcome {
	v, _ := a.p.atLeast("1.1.0")
	return a.run(a.call("GC", append([]mod{version(v)}, mods...)...))
}

// valid lists attachments under key.
func valid(key string, keep ...*attachment) mod {
	list := []any{}
	for _, a := range keep {
		list = append(list, object{"containerID": a.id, "ifname": a.ifname})
	}
	return with(key, list)
}

// A litter is some stale attachments and one that lives. The isolation domains of
// the stale ones are gone: a plugin may count on that.
type litter struct {
	keep  *attachment
	stale []*attachment
	works bool      // CHECK of keep means something
	base  inventory // with keep alone
}

func (p *probe) litter(stale int) *litter {
	l := &litter{keep: p.attachment(0)}
	l.keep.mustAdd()
	l.works = p.checkWorks(l.keep)
	l.base = p.take()
	for range stale {
		a := p.attachment(0)
		a.mustAdd()
		l.stale = append(l.stale, a)
	}
	for _, a := range l.stale {
		a.dropDomain()
	}
	return l
}

// evidence reports whether it can be seen that the stale ones go.
func (p *probe) evidence(l *litter) bool {
	return len(p.held(l.base)) > 0 || p.outlives() && l.works
}

// outlives reports whether an attachment is more than what is in its domain, so
// that CHECK still says yes when that is gone.
func (p *probe) outlives() bool { return p.domains.state() == nil }

// gone tells what is left of the stale attachments.
func (p *probe) gone(l *litter) (string, bool) {
	if !poll(settleLimit/3, func() bool { return len(p.held(l.base)) == 0 }) {
		return strings.Join(kinds(p.held(l.base)), ", "), false
	}
	if p.outlives() && l.works {
		for _, a := range l.stale {
			if a.check().exit == 0 {
				return "an attachment that passes CHECK", false
			}
		}
	}
	return "", true
}

// alive demands that the valid attachment is whole.
func (p *probe) alive(what string, a *attachment, works bool) {
	if works {
		if o := a.check(); o.exit != 0 {
			p.failf("%s: a valid attachment does not pass CHECK", what)
			p.see(o)
		}
	}
}

func gcStale(p *probe) {
	l := p.litter(2)
	if !p.evidence(l) {
		p.skipf("attachments leave nothing on this host that GC could remove")
	}
	o := l.keep.gc(valid(validKey, l.keep))
	if !p.ok("GC", o) {
		return
	}
	if left, ok := p.gone(l); !ok {
		p.failf("GC leaves of stale attachments: %s", left)
		p.see(o)
	}
	p.alive("GC", l.keep, l.works)
}

// needsCollector skips where GC removes nothing at all, which G01 says.
func (p *probe) needsCollector() {
	if p.collects == nil {
		works := false
		p.quietly(func(q *probe) {
			l := q.litter(1)
			if q.evidence(l) && l.keep.gc(valid(validKey, l.keep)).exit == 0 {
				_, works = q.gone(l)
			}
		})
		p.collects = &works
	}
	if !*p.collects {
		p.skipf("GC removes nothing at all (G01)")
	}
}

func gcDelegate(p *probe) {
	d := p.ipam()
	a := d.attachment()
	a.mustAdd()
	p.ok("GC", a.gc(valid(validKey, a)))
	calls := d.calls("GC")
	if len(calls) == 0 {
		p.stopf("the IPAM plugin is not executed with GC")
	}
	v, _ := p.atLeast("1.1.0")
	if !sameJSON(calls[0].Stdin, encode(a.conf(version(v), valid(validKey, a)))) {
		p.failf("the IPAM plugin gets another stdin with GC")
		p.seen = append(p.seen, p.normal(string(calls[0].Stdin)))
	}
}

// gcErrors has the IPAM plugin fail: the plugin's own part goes all the same, and
// the error is told.
func gcErrors(p *probe) {
	d := p.ipam()
	keep := d.attachment()
	keep.mustAdd()
	base := p.take()
	d.verbs(nil) // another address
	a := d.attachment()
	a.mustAdd()
	a.dropDomain()
	d.verbs(map[string]double.Behaviour{"GC": {Code: 123, Msg: "conformance: no"}})
	o := keep.gc(valid(validKey, keep))
	if len(d.calls("GC")) == 0 {
		p.skipf("GC does not reach the IPAM plugin (G02)")
	}
	p.refused("GC whose IPAM plugin fails", o)
	if !poll(settleLimit/3, func() bool { return len(p.held(base)) == 0 }) {
		p.failf("GC whose IPAM plugin fails: does not go on")
	}
	d.verbs(nil)
}

func gcEmpty(p *probe) {
	p.needsCollector()
	l := p.litter(2)
	p.gcRemovesAll(l, "GC with an empty list", with(validKey, []any{}))
}

// gcRemovesAll demands that the litter's living attachment goes too.
func (p *probe) gcRemovesAll(l *litter, what string, mods ...mod) {
	o := l.keep.gc(mods...)
	if !p.ok(what, o) {
		return
	}
	left, ok := p.gone(l)
	if ok && l.works && l.keep.check().exit == 0 {
		left, ok = "an attachment that passes CHECK", false
	}
	if !ok {
		p.failf("%s leaves %s", what, left)
		p.see(o)
	}
}

func gcSpellings(p *probe) {
	p.needsCollector()
	p.gcRemovesAll(p.litter(1), "GC with null as the list", with(validKey, nil))
	l := p.litter(1)
	if o := l.keep.gc(without(validKey)); o.exit != 0 {
		p.refused("GC without a list", o, 7)
		p.alive("GC without a list, refused", l.keep, l.works)
	} else {
		p.gcRemovesAll(l, "GC without a list", without(validKey))
	}
	l = p.litter(1)
	if o := l.keep.gc(valid(legacyKey, l.keep)); p.ok("GC with the list under its old name", o) {
		left, ok := p.gone(l)
		if !ok {
			p.failf("GC with the list under its old name leaves %s", left)
		}
		p.alive("GC with the list under its old name", l.keep, l.works)
	}
}

func gcOtherNetworks(p *probe) {
	other := p.attachment(1)
	other.mustAdd()
	works := p.checkWorks(other)
	held := p.held(p.base)
	a := p.attachment(0)
	a.mustAdd()
	p.ok("GC with an empty list", a.gc(with(validKey, []any{})))
	p.alive("GC of another network", other, works)
	now := p.take()
	for _, k := range held {
		if now[k] == 0 {
			p.failf("GC takes away what another network holds")
		}
	}
}

func gcAgain(p *probe) {
	a := p.attachment(0)
	for i := range 2 {
		p.silent(fmt.Sprintf("GC number %d with nothing to do", i+1), a.gc(with(validKey, []any{})))
	}
	b := p.attachment(2)
	b.mods = append(b.mods, with("name", p.name()))
	p.silent("GC of a network that nothing was added to", b.gc(with(validKey, []any{})))
}

func gcThroughLibcni(p *probe) {
	keep, stale := p.attachment(0), p.attachment(0)
	one := p.runtime(keep, []object{keep.conf()}, nil, nil)
	two := p.runtime(stale, []object{stale.conf()}, nil, nil)
	if !p.did("ADD", one.add()) || !p.did("ADD", two.add()) {
		return
	}
	works := one.check() == nil
	p.did("GC", one.gc(keep))
	if works {
		p.did("CHECK of a valid attachment after GC", one.check())
	}
	if held := p.heldBy([]*attachment{stale}, keep); len(held) > 0 {
		p.failf("GC through libcni leaves %s", strings.Join(kinds(held), ", "))
	}
}
