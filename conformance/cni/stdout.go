package cni

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
)

// stdoutChecks are about answers, exit codes and errors: group O.
func stdoutChecks() []Check {
	return []Check{
		{ID: "O01", Level: Must, Grade: Compat, do: exitCodes, Source: srcErrors,
			Sentence: "A plugin must exit with a return code of 0 on success, and non-zero on failure."},
		{ID: "O02", Level: Must, Grade: Compat, needs: needADD, do: oneDocument, Source: "SPEC.md section 5, ADD Success",
			Sentence: "Plugins must output a JSON object with the following keys upon a successful ADD operation"},
		{ID: "O03", Level: Must, Grade: Compat, needs: needADD, do: silentVerbs, Source: "SPEC.md section 2, GC, Output",
			Sentence: "No output on success, \"error\" result structure on error. (DEL, CHECK and STATUS have no result either.)"},
		{ID: "O04", Level: Should, Grade: Compat, do: errorDocuments, Source: srcErrorTable,
			Sentence: "Plugins should output a JSON object with the following keys if they encounter an error: cniVersion, code (a numeric error code), msg, details"},
		{ID: "O05", Level: Should, Grade: Spec, do: errorVersions, Source: srcErrorTable,
			Sentence: "cniVersion: The protocol version in use"},
		{ID: "O06", Level: Must, Grade: Compat, do: errorCodes, Source: srcErrorTable,
			Sentence: "Error codes 0-99 are reserved for well-known errors. Values of 100+ can be freely used for plugin specific errors."},
		{ID: "O07", Level: Robust, Grade: Spec, needs: needADD, do: noCatchAll, Source: "cni/pkg/skel: 999 is what an error without a code becomes",
			Sentence: "An error that the table has a code for has that code and not a catch-all."},
		{ID: "O08", Level: Should, Grade: Compat, needs: needADD, do: stderrIsFree, Source: srcErrorTable,
			Sentence: "In addition, stderr can be used for unstructured output such as logs."},
		{ID: "O09", Level: Library, Grade: Compat, needs: needADD, do: errorsThroughLibcni, Source: "cni/pkg/invoke: an error that is no JSON on stdout becomes \"netplugin failed\"",
			Sentence: "A runtime finds code and message of an error on stdout."},
	}
}

// A failing execution, and what it is.
type mistake struct {
	what    string
	o       *outcome
	version string // of the input, when it has one
}

// mistakes makes executions that must fail, whatever the plugin.
func (p *probe) mistakes() []mistake {
	var all []mistake
	add := func(what, v string, o *outcome) { all = append(all, mistake{what, o, v}) }
	a := p.attachment(0)
	a.netns = orElse(a.netns, "vm://nothing")
	v := p.version()
	for _, verb := range []string{"ADD", "DEL"} {
		c := a.call(verb)
		c.vars["CNI_CONTAINERID"] = "../x"
		add(verb+" with a bad CNI_CONTAINERID", v, p.call(c))
		c = a.call(verb)
		c.unset = []string{"CNI_IFNAME"}
		add(verb+" without CNI_IFNAME", v, p.call(c))
	}
	add("ADD with garbage on stdin", "", p.misuse("ADD", []byte("not json")))
	add("ADD without name", v, p.misuse("ADD", encode(p.conf(0, without("name")))))
	add("ADD with an unknown cniVersion", "", p.misuse("ADD", encode(p.conf(0, version("9.9.9")))))
	return all
}

func exitCodes(p *probe) {
	for _, m := range p.mistakes() {
		if m.o.exit == 0 {
			p.failf("%s: exit 0", m.what)
			p.see(m.o)
		}
	}
	p.ok("VERSION", p.call(call{command: "VERSION", stdin: encode(p.conf(0))}))
	p.ok("DEL of nothing", p.attachment(0).del())
	if p.target.Domain != DomainNone {
		p.ok("ADD", p.attachment(0).add())
	}
}

func oneDocument(p *probe) {
	o := p.attachment(0).mustAdd()
	if _, why := o.document(); why != "" {
		p.failf("ADD: %s", why)
		p.see(o)
	}
}

func (p *probe) silent(what string, o *outcome) {
	if p.ok(what, o) && len(o.stdout) > 0 {
		p.failf("%s: succeeds, but prints on stdout", what)
		p.see(o)
	}
}

func silentVerbs(p *probe) {
	a := p.attachment(0)
	a.mustAdd()
	if _, ok := p.atLeast("0.4.0"); ok {
		// Whether CHECK succeeds is C01.
		if o := a.check(); o.exit == 0 {
			p.silent("CHECK", o)
		}
	}
	if v, ok := p.atLeast("1.1.0"); ok {
		valid := with(validKey, []any{object{"containerID": a.id, "ifname": a.ifname}})
		if o := p.call(a.call("STATUS", version(v))); o.exit == 0 {
			p.silent("STATUS", o)
		}
		if o := p.call(a.call("GC", version(v), valid)); o.exit == 0 {
			p.silent("GC", o)
		}
	}
	p.silent("DEL", a.del())
	p.silent("DEL again", a.del())
}

func errorDocuments(p *probe) {
	for _, m := range p.mistakes() {
		p.refused(m.what, m.o)
	}
}

func errorVersions(p *probe) {
	all := p.mistakes()
	for _, v := range p.known() {
		all = append(all, mistake{"ADD without name at " + v, p.misuse("ADD", encode(p.conf(0, without("name"), version(v)))), v})
	}
	for _, m := range all {
		e, why := m.o.errorDoc()
		switch {
		case why != "": // O04
			continue
		case e.CNIVersion == "":
			p.failf("%s: the error has no cniVersion", m.what)
		case m.version != "" && strings.HasPrefix(m.what, "ADD without name") && e.CNIVersion != m.version:
			p.failf("%s: the error has cniVersion %s, the input %s", m.what, e.CNIVersion, m.version)
		default:
			continue
		}
		p.see(m.o)
	}
}

// wellKnown are the codes of the table.
func wellKnown() []int { return []int{1, 2, 3, 4, 5, 6, 7, 11, 50, 51} }

func errorCodes(p *probe) {
	all := p.mistakes()
	if p.target.Domain != DomainNone {
		all = append(all, p.deepMistakes()...)
	}
	for _, m := range all {
		if e, why := m.o.errorDoc(); why == "" && e.Code < 100 && !slices.Contains(wellKnown(), e.Code) {
			p.failf("%s: code %d is reserved", m.what, e.Code)
			p.see(m.o)
		}
	}
}

// deepMistakes are executions that fail, if they do, in the plugin's own work:
// behind what a library checks.
func (p *probe) deepMistakes() []mistake {
	var all []mistake
	add := func(what string, o *outcome) { all = append(all, mistake{what, o, p.version()}) }
	a := p.attachment(0)
	a.add()
	add("ADD of an interface that is there", a.add())
	a.del()
	if _, ok := p.atLeast("0.4.0"); ok {
		add("CHECK after DEL", a.check())
		add("CHECK without prevResult", a.check(without("prevResult")))
	}
	for _, bad := range append([]string{`{"dns": "x"}`, `{"ipam": "x"}`}, p.target.Bad...) {
		b := p.attachment(0, patched(bad))
		add("ADD with "+bad, b.add())
	}
	if p.noDelegation() == "" {
		b := p.attachment(0, with("ipam", object{"type": "conformance-missing"}))
		add("ADD with an ipam.type that is not in CNI_PATH", b.add())
	}
	return all
}

func noCatchAll(p *probe) {
	for _, m := range p.deepMistakes() {
		if e, why := m.o.errorDoc(); m.o.exit != 0 && why == "" && e.Code == 999 {
			p.failf("%s: code 999", m.what)
			p.see(m.o)
		}
	}
}

// stderrIsFree executes with a stderr that takes nothing.
func stderrIsFree(p *probe) {
	sink, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) { // only Linux has it
		sink, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	if err != nil {
		p.stopf("open a sink: %v", err)
	}
	defer func() { _ = sink.Close() }()
	a := p.attachment(0)
	for _, verb := range []string{"ADD", "DEL"} {
		c := a.call(verb, a.prev())
		c.stderr = sink
		p.ok(verb+" with a stderr that takes nothing", a.run(c))
	}
	c := a.call("ADD")
	c.vars["CNI_CONTAINERID"] = "../x"
	c.stderr = sink
	p.refused("a failing ADD with a stderr that takes nothing", p.call(c))
}

// errorsThroughLibcni has the library that runtimes use look for the error.
func errorsThroughLibcni(p *probe) {
	a := p.attachment(0, without("name"))
	a.touched = true
	ctx, cancel := context.WithTimeout(p.ctx, p.target.Timeout)
	defer cancel()
	args := &invoke.Args{Command: "ADD", ContainerID: a.id, NetNS: a.netns, IfName: a.ifname, Path: a.path}
	_, err := invoke.ExecPluginWithResult(ctx, p.program(), encode(a.conf()), args, p.executor())
	var e *types.Error
	switch {
	case err == nil:
		p.failf("ADD without name: accepted")
	case !errors.As(err, &e) || strings.HasPrefix(e.Msg, "netplugin failed"):
		p.failf("ADD without name: a runtime finds no error on stdout")
	case e.Code == 0 || e.Msg == "":
		p.failf("ADD without name: a runtime finds no code, or no message")
	default:
		return
	}
	p.seen = append(p.seen, p.normal(fmt.Sprint("libcni: ", err)))
}
