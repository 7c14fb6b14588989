package cni

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	srcParameters = "SPEC.md section 2, Parameters"
	srcErrors     = "SPEC.md section 2, Errors"
	srcErrorTable = "SPEC.md section 5, Error"
)

// envChecks are about how the plugin is executed: group E.
func envChecks() []Check {
	return []Check{
		{ID: "E01", Level: Must, Grade: Compat, do: unknownCommand, Source: srcErrorTable,
			Sentence: "Invalid necessary environment variables, like CNI_COMMAND, CNI_CONTAINERID, etc. The error message must contain the names of invalid variables."},
		{ID: "E02", Level: Library, Grade: Compat, do: noCommand, Source: "cni/pkg/skel",
			Sentence: "Without CNI_COMMAND a plugin says what it is on stderr and exits with 0, or answers with error 4."},
		{ID: "E03", Level: Must, Grade: Compat, do: missingForADD, Source: "SPEC.md section 2, ADD and CHECK, Input",
			Sentence: "Required environment parameters: CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME"},
		{ID: "E04", Level: Must, Grade: Compat, do: missingForDEL, Source: "SPEC.md section 2, DEL, Input",
			Sentence: "Required environment parameters: CNI_COMMAND, CNI_CONTAINERID, CNI_IFNAME. Optional environment parameters: CNI_NETNS"},
		{ID: "E05", Level: Must, Grade: Compat, do: bareVerbs, Source: "SPEC.md section 2, STATUS, VERSION and GC, Input",
			Sentence: "STATUS and VERSION require CNI_COMMAND alone; GC, CNI_COMMAND and CNI_PATH."},
		{ID: "E06", Level: Must, Grade: Spec, do: noPath, Source: "SPEC.md section 2, ADD, DEL, CHECK and STATUS, Input",
			Sentence: "Optional environment parameters: CNI_PATH"},
		{ID: "E07", Level: Must, Grade: Compat, do: containerIDs, Source: srcParameters,
			Sentence: "CNI_CONTAINERID: Must not be empty. Must start with an alphanumeric character, optionally followed by any combination of one or more alphanumeric characters, underscore (), dot (.) or hyphen (-)."},
		{ID: "E08", Level: Must, Grade: Spec, do: namesVariables, Source: srcErrorTable,
			Sentence: "The error message must contain the names of invalid variables."},
		{ID: "E09", Level: Must, Grade: Compat, do: ifNames, Source: srcParameters,
			Sentence: "CNI_IFNAME: Name of the interface to create inside the container; if the plugin is unable to use this interface name it must return an error."},
		{ID: "E10", Level: Library, Grade: Compat, needs: needADD, do: malformedArgs, Source: srcParameters,
			Sentence: "CNI_ARGS: Alphanumeric key-value pairs separated by semicolons; for example, \"FOO=BAR;ABC=123\""},
		{ID: "E11", Level: Robust, Grade: Compat, needs: needADD, do: longIDs, Source: "nerdctl and CRI IDs; unix(7): sun_path has 104 bytes on macOS",
			Sentence: "Container IDs are long; a socketPath is short enough for connect(2) all the same."},
		{ID: "E12", Level: Robust, Grade: Compat, needs: needADD, do: noHeldPipes, Source: "cni/pkg/invoke waits for the end of stdout and stderr",
			Sentence: "No process that a plugin leaves holds its stdout or stderr open."},
		{ID: "E13", Level: Robust, Grade: Compat, needs: needADD, do: killedADDs, Source: "cni/pkg/invoke kills with SIGKILL when its context ends; SPEC.md section 3, Lifecycle & Ordering",
			Sentence: "A delete must still be executed even if the add fails; it leaves nothing, at whatever instant the add was killed."},
		{ID: "E14", Level: Library, Grade: Compat, needs: needADD, do: tracing, Source: "libcni from 1.3.1",
			Sentence: "TRACEPARENT, TRACESTATE and BAGGAGE may be in the environment."},
		{ID: "E15", Level: Library, Grade: Spec, do: strangeNetNS, Source: srcParameters,
			Sentence: "CNI_NETNS: A reference to the container's \"isolation domain\". Whatever it names, a plugin answers in time, with one document."},
	}
}

func unknownCommand(p *probe) {
	a := p.attachment(0)
	for _, cmd := range []string{"BOGUS", "add"} {
		o := p.call(a.call(cmd))
		if e := p.refused("CNI_COMMAND "+cmd, o, 4); e != nil && !strings.Contains(e.text(), "CNI_COMMAND") {
			p.failf("CNI_COMMAND %s: the message does not name CNI_COMMAND", cmd)
			p.see(o)
		}
	}
}

func noCommand(p *probe) {
	o := p.call(call{command: "(none)", unset: []string{"CNI_COMMAND"}})
	if o.exit != 0 {
		p.refused("no CNI_COMMAND", o, 4)
		return
	}
	if p.ok("no CNI_COMMAND", o) && (len(o.stdout) > 0 || len(o.stderr) == 0) {
		p.failf("no CNI_COMMAND: exit 0 with something on stdout, or nothing on stderr")
		p.see(o)
	}
}

// missing executes command without the variables and demands an error that names
// each of them.
func (p *probe) missing(command string, vars ...string) {
	a := p.attachment(0)
	a.netns = orElse(a.netns, "vm://nothing")
	for _, empty := range []bool{false, true} {
		c := a.call(command)
		what := command + " without "
		if empty {
			what = command + " with empty "
		}
		for _, v := range vars {
			delete(c.vars, v)
			if empty {
				c.vars[v] = ""
			}
		}
		what += strings.Join(vars, " and ")
		o := p.call(c)
		e := p.refused(what, o, 4)
		for _, v := range vars {
			if e != nil && !strings.Contains(e.text(), v) {
				p.failf("%s: the message does not name %s", what, v)
				p.see(o)
			}
		}
	}
}

func missingForADD(p *probe) {
	for _, cmd := range []string{"ADD", "CHECK"} {
		p.missing(cmd, "CNI_CONTAINERID")
		p.missing(cmd, "CNI_NETNS")
		p.missing(cmd, "CNI_IFNAME")
		p.missing(cmd, "CNI_CONTAINERID", "CNI_IFNAME")
		p.missing(cmd, "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME")
	}
}

func missingForDEL(p *probe) {
	p.missing("DEL", "CNI_CONTAINERID")
	p.missing("DEL", "CNI_IFNAME")
	p.missing("DEL", "CNI_CONTAINERID", "CNI_IFNAME")
	a := p.attachment(0)
	c := a.call("DEL")
	c.unset = []string{"CNI_NETNS"}
	p.ok("DEL without CNI_NETNS", p.call(c))
	c = a.call("DEL")
	c.vars["CNI_NETNS"] = ""
	p.ok("DEL with empty CNI_NETNS", p.call(c))
}

// bareVerbs leaves CNI_PATH in STATUS: that it may miss there is E06.
func bareVerbs(p *probe) {
	p.ok("VERSION with CNI_COMMAND alone", p.call(call{command: "VERSION", stdin: encode(p.conf(0))}))
	v, ok := p.atLeast("1.1.0")
	if !ok {
		return
	}
	path := map[string]string{"CNI_PATH": p.path()}
	o := p.call(call{command: "STATUS", vars: path, stdin: encode(p.conf(0, version(v)))})
	if o.exit != 0 { // not ready is an answer too
		p.refused("STATUS with CNI_COMMAND and CNI_PATH alone", o, 50, 51)
	}
	o = p.call(call{command: "GC", vars: path, stdin: encode(p.conf(0, version(v), with(validKey, []any{})))})
	p.ok("GC with CNI_COMMAND and CNI_PATH alone", o)
}

// noPath leaves CNI_PATH out and the IPAM plugin too, which would need it.
func noPath(p *probe) {
	var mods []mod
	if typ, _ := at(p.conf(0), "ipam", "type").(string); typ != "" && p.target.Kind != KindIPAM {
		mods = append(mods, without("ipam"))
	}
	a := p.attachment(0, mods...)
	a.netns = orElse(a.netns, "vm://nothing")
	verbs := []string{"ADD", "CHECK", "DEL"}
	if v, ok := p.atLeast("1.1.0"); ok {
		a.mods = append(a.mods, version(v))
		verbs = append(verbs, "STATUS")
	}
	for _, verb := range verbs {
		c := a.call(verb, a.prev())
		c.unset = []string{"CNI_PATH"}
		o := a.run(c)
		if e, why := o.errorDoc(); o.hung || why == "" && (e.Code == 4 || strings.Contains(e.text(), "CNI_PATH")) {
			p.failf("%s without CNI_PATH: refused%s", verb, o.codeText())
			p.see(o)
		}
	}
}

func containerIDs(p *probe) {
	for _, id := range []string{"../x", "-a", "a b", "é", "a/b", "_a", ".a"} {
		for _, verb := range []string{"ADD", "CHECK", "DEL"} {
			a := p.attachment(0)
			a.netns = orElse(a.netns, "vm://nothing")
			a.id = id
			p.refused(verb+" with CNI_CONTAINERID "+id, a.run(a.call(verb)), 4)
		}
	}
	for _, id := range []struct{ what, id string }{
		{"one character", "a"}, {"200 characters", strings.Repeat("a", 200)}, {"every kind of character", "a_.-Z9"},
	} {
		a := p.attachment(0)
		a.id = id.id
		p.ok("DEL with a CNI_CONTAINERID of "+id.what, a.del())
	}
}

func namesVariables(p *probe) {
	for _, verb := range []string{"ADD", "DEL"} {
		for _, v := range []struct{ name, bad string }{{"CNI_CONTAINERID", "../x"}, {"CNI_IFNAME", "a/b"}} {
			a := p.attachment(0)
			a.netns = orElse(a.netns, "vm://nothing")
			c := a.call(verb)
			c.vars[v.name] = v.bad
			o := p.call(c)
			if e := p.refused(verb+" with a bad "+v.name, o); e != nil && !strings.Contains(e.text(), v.name) {
				p.failf("%s with a bad %s: the message does not name it", verb, v.name)
				p.see(o)
			}
		}
	}
}

// ifNames accepts a success too, if the interface got that very name: it is the
// plugin that knows which it can use.
func ifNames(p *probe) {
	for _, name := range []string{"sixteen-bytes-xx", "a/b", "a:b", "a b", ".", ".."} {
		a := p.attachment(0)
		a.netns = orElse(a.netns, "vm://nothing")
		a.ifname = name
		o := a.add()
		if o.exit != 0 {
			p.refused("CNI_IFNAME "+name, o, 4)
			continue
		}
		if own, _ := a.own(); own == nil {
			p.failf("CNI_IFNAME %s: accepted, but no interface has the name", name)
			p.see(o)
		}
	}
}

// readsArgs reports whether the plugin looks at CNI_ARGS at all: one that uses
// none has nothing to refuse.
func (p *probe) readsArgs() bool {
	if p.argsRead != nil {
		return *p.argsRead
	}
	read := false
	p.quietly(func(q *probe) {
		for _, args := range []string{"FOO", "CONFORMANCE=1", "MAC=x", "IP=x"} {
			a := q.attachment(0)
			c := a.call("ADD")
			c.vars["CNI_ARGS"] = args
			if a.run(c).exit != 0 {
				read = true
			}
		}
	})
	p.argsRead = &read
	return read
}

func malformedArgs(p *probe) {
	if !p.readsArgs() {
		p.skipf("the plugin reads no CNI_ARGS: it refuses nothing in them")
	}
	for _, args := range []string{"FOO", "IgnoreUnknown=1;FOO", "IgnoreUnknown=1;A=B=C"} {
		a := p.attachment(0)
		c := a.call("ADD")
		c.vars["CNI_ARGS"] = args
		p.refused("CNI_ARGS "+args, a.run(c))
	}
}

func longIDs(p *probe) {
	const mostSun = 103 // and a zero byte
	for _, n := range []int{72, 200} {
		what := fmt.Sprintf("%d characters", n)
		a := p.attachment(0)
		a.id += strings.Repeat("b", n-len(a.id))
		o := a.add()
		if !p.ok("ADD with a CNI_CONTAINERID of "+what, o) {
			continue
		}
		for _, i := range objects(a.parsed()["interfaces"]) {
			if sock, _ := i["socketPath"].(string); len(sock) > mostSun {
				p.failf("CNI_CONTAINERID of %s: socketPath has more than %d bytes", what, mostSun)
				p.see(o)
			}
		}
		p.ok("DEL with a CNI_CONTAINERID of "+what, a.del())
	}
}

func noHeldPipes(p *probe) {
	a := p.attachment(0)
	outcomes := []*outcome{a.mustAdd(), a.del(), p.call(call{command: "VERSION"})}
	for _, o := range outcomes {
		if o.held {
			p.failf("%s: stdout or stderr is open %v after the exit", o.command, eofLimit)
			p.see(o)
		}
	}
}

func tracing(p *probe) {
	env := []string{"TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "TRACESTATE=vendor=value", "BAGGAGE=key=value"}
	a := p.attachment(0)
	for _, verb := range []string{"ADD", "DEL"} {
		c := a.call(verb, a.prev())
		c.env = env
		p.ok(verb+" with tracing variables", a.run(c))
	}
}

// strangeNetNS demands no verdict about these names, only an answer.
func strangeNetNS(p *probe) {
	fifo := filepath.Join(p.work, p.name())
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		p.stopf("make a FIFO: %v", err)
	}
	p.cleanup(func() { _ = os.Remove(fifo) })
	refs := []struct{ what, ref string }{
		{"a FIFO", fifo}, {"the plugin's own namespace", "/proc/self/ns/net"},
		{"the name of a machine", "vm://conformance"}, {"a path that does not exist", filepath.Join(p.work, "missing")},
	}
	for _, r := range refs {
		a := p.attachment(0)
		a.dropDomain()
		a.netns = r.ref
		for _, verb := range []string{"ADD", "DEL"} {
			p.answers(verb+" with "+r.what+" as CNI_NETNS", a, verb)
		}
	}
}

// answers demands an answer in 10 s that is whole: what stdout has fits the exit.
func (p *probe) answers(what string, a *attachment, verb string) {
	c := a.call(verb, a.prev())
	c.limit = min(p.target.Timeout, 10*time.Second)
	o := a.run(c)
	docs, err := documents(o.stdout)
	want := 1
	if verb != "ADD" && o.exit == 0 {
		want = 0
	}
	switch {
	case o.hung:
		p.failf("%s: hangs", what)
	case err != nil:
		p.failf("%s: stdout is not JSON alone", what)
	case len(docs) != want:
		p.failf("%s: %d JSON documents on stdout, want %d", what, len(docs), want)
	default:
		return
	}
	p.see(o)
}
