package cni

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A probe is one check under way. Its methods are used as those of testing.T:
// failf notes a failure and goes on, stopf ends the check too, skipf ends it
// without a verdict.
type probe struct {
	*session
	check    *Check
	status   Status
	reasons  []string
	seen     []string
	cleanups []func()
	base     inventory
}

// ended is the panic that ends a check early.
type ended struct{}

// failf notes why the check fails. Texts have nothing in them that changes from
// run to run; what was seen goes to see.
func (p *probe) failf(format string, args ...any) {
	p.status = Fail
	if text := p.normal(fmt.Sprintf(format, args...)); !slices.Contains(p.reasons, text) {
		p.reasons = append(p.reasons, text)
	}
}

// stopf fails and ends the check.
func (p *probe) stopf(format string, args ...any) {
	p.failf(format, args...)
	panic(ended{})
}

// skipf ends the check without a verdict, unless it has failed already.
func (p *probe) skipf(format string, args ...any) {
	if p.status != Fail {
		p.status = Skip
		p.reasons = append(p.reasons, p.normal(fmt.Sprintf(format, args...)))
	}
	panic(ended{})
}

// see keeps what a failing execution showed.
func (p *probe) see(o *outcome) {
	const most = 4
	if len(p.seen) < most {
		p.seen = append(p.seen, o.String())
	}
}

// normal takes out of a text what differs from run to run.
func (p *probe) normal(text string) string {
	return strings.NewReplacer(p.work, "$WORK", p.token, "$RUN").Replace(text)
}

// cleanup has fn called when the check is over, last first.
func (p *probe) cleanup(fn func()) { p.cleanups = append(p.cleanups, fn) }

// perform makes one check, with the accounts of what is left behind around it.
func (s *session) perform(c *Check) Result {
	p := &probe{session: s, check: c, status: Pass}
	start := time.Now()
	p.guarded(func() {
		p.demand(c.needs)
		if s.target.Domain != DomainNone {
			s.warmUp(0)
		}
		p.base = s.take()
		c.do(p)
	})
	for _, fn := range slices.Backward(p.cleanups) {
		p.guarded(fn)
	}
	if p.base != nil {
		p.guarded(p.settle)
	}
	return Result{
		ID: c.ID, Level: c.Level, Grade: c.Grade, Sentence: c.Sentence, Source: c.Source,
		Status: p.status, Reason: strings.Join(p.reasons, "; "), Seen: p.seen, Seconds: time.Since(start).Seconds(),
	}
}

func (p *probe) guarded(fn func()) {
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(ended); !ok {
				panic(v)
			}
		}
	}()
	fn()
}

// demand skips a check that cannot be made.
func (p *probe) demand(n need) {
	t := &p.target
	if n&(needADD|needDelegate) != 0 && t.Domain == DomainNone {
		p.skipf("no isolation domain: no ADD can succeed")
	}
	if n&needCHECK != 0 {
		if _, ok := p.atLeast("0.4.0"); !ok {
			p.skipf("the plugin speaks no version with CHECK (0.4.0)")
		}
	}
	if n&needSTATUS != 0 {
		if _, ok := p.atLeast("1.1.0"); !ok {
			p.skipf("the plugin speaks no version with STATUS and GC (1.1.0)")
		}
	}
	if n&needAnIface != 0 && t.Kind == KindIPAM {
		p.skipf("an IPAM plugin has no interface")
	}
	if n&needChain != 0 && t.Kind == KindIPAM {
		p.skipf("an IPAM plugin is delegated to and stands in no list")
	}
	if n&needDelegate != 0 {
		if why := p.noDelegation(); why != "" {
			p.skipf("%s", why)
		}
	}
}

// ok demands success.
func (p *probe) ok(what string, o *outcome) bool {
	switch {
	case o.broken != nil:
		p.failf("%s: the plugin could not be executed", what)
	case o.hung:
		p.failf("%s: hangs", what)
	case o.exit != 0:
		p.failf("%s: refused%s", what, o.codeText())
	default:
		return true
	}
	p.see(o)
	return false
}

// refused demands an error: exit not 0 and one error document on stdout, with one
// of the codes when any are given. It returns the document, or nil.
func (p *probe) refused(what string, o *outcome, codes ...int) *errorDoc {
	doc, why := o.errorDoc()
	switch {
	case o.broken != nil:
		p.failf("%s: the plugin could not be executed", what)
	case o.hung:
		p.failf("%s: hangs", what)
	case o.exit == 0:
		p.failf("%s: accepted", what)
	case why != "":
		p.failf("%s: %s", what, why)
	case len(codes) > 0 && !slices.Contains(codes, doc.Code):
		p.failf("%s: code %d, want %s", what, doc.Code, anyOf(codes))
	default:
		return doc
	}
	p.see(o)
	return nil
}

func anyOf(codes []int) string {
	var s []string
	for _, c := range codes {
		s = append(s, fmt.Sprint(c))
	}
	return strings.Join(s, " or ")
}
