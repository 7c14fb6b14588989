package cni

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmnet-cni/vmnet/conformance/cni/internal/double"
)

const srcDelegate = "SPEC.md section 4, Delegated plugin execution procedure"

// ipamChecks are about delegation to an IPAM plugin: group J. What single verbs
// do about it is with them: A11, A15, D08, C06, T03, G02.
func ipamChecks() []Check {
	return []Check{
		{ID: "J01", Level: Should, Grade: Compat, needs: needDelegate, do: findsInPath, Source: srcDelegate,
			Sentence: "Look up the plugin binary by searching the directories provided in CNI_PATH environment variable. (type must not contain characters disallowed in file paths.)"},
		{ID: "J02", Level: Must, Grade: Compat, needs: needDelegate, do: sameEnvironment, Source: "SPEC.md section 4, Delegated Plugin protocol",
			Sentence: "The delegated plugin must receive all the same environment variables that were passed in to the CNI plugin."},
		{ID: "J03", Level: Must, Grade: Compat, needs: needDelegate, do: completeStdin, Source: "SPEC.md section 4, Delegated Plugin protocol",
			Sentence: "Delegated plugins are provided the complete network configuration passed to the \"upper\" plugin."},
		{ID: "J04", Level: Should, Grade: Compat, needs: needDelegate, do: stderrPassed, Source: srcDelegate,
			Sentence: "Ensure that the delegated plugin's stderr is output to the calling plugin's stderr."},
		{ID: "J05", Level: Must, Grade: Compat, needs: needDelegate, do: usesIPAMResult, Source: "SPEC.md section 5, Delegated plugins (IPAM)",
			Sentence: "Delegated IPAM plugins must return an abbreviated Success object. Specifically, it is missing the interfaces array, as well as the interface entry in ips. (The upper plugin fills them in.)"},
		{ID: "J06", Level: Should, Grade: Compat, needs: needDelegate, do: zeroIPs, Source: "bridge and ptp of containernetworking/plugins",
			Sentence: "An IPAM result without addresses is an error, and the IPAM plugin is executed with DEL."},
		{ID: "J07", Level: Must, Grade: Compat, needs: needDelegate, do: everyVerb, Source: srcDelegate,
			Sentence: "If a plugin is executed with CNI_COMMAND=CHECK, DEL, or GC, it must also execute any delegated plugins. (GC is G02, STATUS T03.)"},
		{ID: "J08", Level: Should, Grade: Compat, needs: needDelegate, do: errorPassed, Source: srcDelegate,
			Sentence: "If any of the delegated plugins return error, error should be returned by the upper plugin."},
		{ID: "J09", Level: Should, Grade: Compat, needs: needDelegate, do: deviceFirst, Source: "bridge of containernetworking/plugins",
			Sentence: "DEL takes the interface away before it executes the IPAM plugin, so that no address in use is given out again."},
		{ID: "J10", Level: Robust, Grade: Spec, needs: needADD | needAnIface, do: withoutIPAM, Source: "SPEC.md section 1: ipam is optional",
			Sentence: "Every verb works without an ipam section, and with an empty one."},
	}
}

// findsInPath puts the IPAM plugin where it must not be looked for.
func findsInPath(p *probe) {
	d := p.ipam()
	refused := func(what, typ, path string, env ...string) {
		a := d.attachment(with("ipam", object{"type": typ}))
		a.path = path
		c := a.call("ADD")
		c.env = env
		before := len(d.calls("ADD"))
		o := a.run(c)
		p.refused("ADD with "+what, o)
		if len(d.calls("ADD")) > before {
			p.failf("ADD with %s: executed", what)
			p.see(o)
		}
		a.path = p.path(d.dir)
		a.mods = nil
	}
	refused("the IPAM plugin in PATH and not in CNI_PATH", d.name, p.path(), "PATH="+d.dir+":"+os.Getenv("PATH"))
	refused("a path as ipam.type", filepath.Join(d.dir, d.name), p.path())
	refused("a path as ipam.type and CNI_PATH", "../"+filepath.Base(d.dir)+"/"+d.name, p.path(d.dir))
}

func sameEnvironment(p *probe) {
	d := p.ipam()
	a := d.attachment()
	for _, verb := range []string{"ADD", "DEL"} {
		c := a.call(verb, a.prev())
		c.vars["CNI_ARGS"] = "IgnoreUnknown=1;K8S_POD_NAME=conformance"
		c.env = []string{"CONFORMANCE=yes", "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
		o := a.run(c)
		p.ok(verb, o)
		calls := d.calls(verb)
		if len(calls) == 0 {
			p.stopf("the IPAM plugin is not executed with %s", verb)
		}
		for k, v := range c.vars {
			if calls[0].Env[k] != v {
				p.failf("%s: the IPAM plugin gets another %s", verb, k)
			}
		}
		for _, kv := range c.env {
			if k, v, _ := strings.Cut(kv, "="); calls[0].Env[k] != v {
				p.failf("%s: the IPAM plugin does not get the environment's %s", verb, k)
			}
		}
	}
}

func completeStdin(p *probe) {
	d := p.ipam()
	a := d.attachment(with("args", object{"cni": object{"labels": []any{}}}), with("cni.dev/conformance", object{"a": 1}),
		with("runtimeConfig", object{}))
	for _, verb := range []string{"ADD", "DEL"} {
		c := a.call(verb, a.prev())
		p.ok(verb, a.run(c))
		calls := d.calls(verb)
		if len(calls) == 0 {
			p.stopf("the IPAM plugin is not executed with %s", verb)
		}
		if !sameJSON(calls[0].Stdin, c.stdin) {
			p.failf("%s: the IPAM plugin gets another stdin", verb)
			p.seen = append(p.seen, p.normal("given "+string(c.stdin)), p.normal("got "+string(calls[0].Stdin)))
		}
	}
}

func stderrPassed(p *probe) {
	const text = "conformance: a line on stderr\n"
	d := p.ipam()
	d.verbs(map[string]double.Behaviour{"ADD": {Result: d.result(), Stderr: text}, "DEL": {Stderr: text}})
	a := d.attachment()
	for _, o := range []*outcome{a.mustAdd(), a.del()} {
		if !strings.Contains(string(o.stderr), strings.TrimSpace(text)) {
			p.failf("%s: the IPAM plugin's stderr is lost", o.command)
			p.see(o)
		}
	}
}

func usesIPAMResult(p *probe) {
	d := p.ipam()
	res := d.result()
	res["dns"] = object{"nameservers": []any{"192.0.2.1"}, "search": []any{"conformance.invalid"}}
	res["routes"] = []any{object{"dst": "203.0.113.0/24"}}
	d.verbs(map[string]double.Behaviour{"ADD": {Result: res}})
	a := d.attachment(without("dns"))
	o := a.mustAdd()
	got := a.parsed()
	_, own := a.own()
	want, _ := objects(res["ips"])[0]["address"].(string)
	i := slices.IndexFunc(objects(got["ips"]), func(ip object) bool { return ip["address"] == want })
	switch {
	case i < 0:
		p.failf("the result lacks the IPAM plugin's address")
	case objects(got["ips"])[i]["interface"] != float64(own):
		p.failf("the IPAM plugin's address does not name the container's interface")
	}
	if !slices.ContainsFunc(objects(got["routes"]), func(r object) bool { return r["dst"] == "203.0.113.0/24" }) {
		p.failf("the result lacks the IPAM plugin's route")
	}
	if !slices.Contains(texts(at(got, "dns", "nameservers")), "192.0.2.1") {
		p.failf("the result lacks the IPAM plugin's dns")
	}
	if p.status == Fail {
		p.see(o)
	}
}

func zeroIPs(p *probe) {
	d := p.ipam()
	d.verbs(map[string]double.Behaviour{"ADD": {Result: object{"ips": []any{}}}})
	o := d.attachment().add()
	p.refused("ADD with no address from the IPAM plugin", o)
	if len(d.calls("DEL")) == 0 {
		p.failf("the IPAM plugin that gave no address is not executed with DEL")
		p.see(o)
	}
}

func everyVerb(p *probe) {
	d := p.ipam()
	a := d.attachment()
	a.mustAdd()
	verbs := []string{"ADD"}
	if _, ok := p.atLeast("0.4.0"); ok {
		p.ok("CHECK", a.check())
		verbs = append(verbs, "CHECK")
	}
	p.ok("DEL", a.del())
	for _, verb := range append(verbs, "DEL") {
		if len(d.calls(verb)) == 0 {
			p.failf("the IPAM plugin is not executed with %s", verb)
		}
	}
}

func errorPassed(p *probe) {
	const code, msg = 123, "conformance: no"
	d := p.ipam()
	d.verbs(map[string]double.Behaviour{"ADD": {Code: code, Msg: msg}})
	o := d.attachment().add()
	e := p.refused("ADD whose IPAM plugin fails", o, code)
	if e != nil && !strings.Contains(e.text(), msg) {
		p.failf("the IPAM plugin's message is lost")
		p.see(o)
	}
}

func deviceFirst(p *probe) {
	d := p.ipam()
	a := d.attachment()
	a.mustAdd()
	before := p.take()
	d.verbs(map[string]double.Behaviour{"DEL": {Code: 123, Msg: "conformance: no"}})
	a.del() // whether it says so is D08
	d.verbs(nil)
	p.goneThough("DEL whose IPAM plugin fails", a, before)
	p.ok("DEL whose IPAM plugin works again", a.del())
}

// withoutIPAM accepts a plugin that cannot do without, if it says so at ADD.
func withoutIPAM(p *probe) {
	for _, v := range []struct {
		what string
		mod  mod
	}{{"no ipam", without("ipam")}, {"an empty ipam", with("ipam", object{})}} {
		a := p.attachment(0, v.mod)
		if o := a.add(); o.exit != 0 {
			if p.refused("ADD with "+v.what, o) != nil {
				p.skipf("the plugin refuses a configuration with %s", v.what)
			}
			return
		}
		if ver, ok := p.atLeast("0.4.0"); ok && ver != "" {
			p.ok("CHECK with "+v.what, a.check())
		}
		if _, ok := p.atLeast("1.1.0"); ok {
			p.ok("STATUS with "+v.what, a.status())
			p.ok("GC with "+v.what, a.gc(valid(validKey, a)))
		}
		p.ok("DEL with "+v.what, a.del())
	}
}
