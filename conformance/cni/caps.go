package cni

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/vmnet-cni/vmnet/internal/port"
)

const srcConventions = "CONVENTIONS.md"

// capsChecks are about capabilities and arguments: group K.
func capsChecks() []Check {
	return []Check{
		{ID: "K01", Level: Library, Grade: Compat, needs: needADD, do: capitalKeys, Source: "go-cni, whose structs have no JSON names: containerd sends HostPort, Servers, Subnet",
			Sentence: "Keys in runtimeConfig are understood in capitals too."},
		{ID: "K02", Level: Should, Grade: Compat, needs: needADD, do: honouredCaps, Source: "SPEC.md section 3, Deriving runtimeConfig",
			Sentence: "Capability arguments need to be declared explicitly in configuration. (What the plugin declares and is given, it honours or refuses, and does not ignore.)"},
		{ID: "K03", Level: Must, Grade: Compat, needs: needADD, do: precedence, Source: srcConventions,
			Sentence: "runtimeConfig is preferred to args, and CNI_ARGS must be ignored where there is an equivalent args key."},
		{ID: "K04", Level: Must, Grade: Compat, needs: needADD, do: optionalArgs, Source: srcConventions,
			Sentence: "args.cni is optional metadata: a plugin that does not know a key in it ignores it."},
		{ID: "K05", Level: Library, Grade: Compat, needs: needADD, do: unknownArgs, Source: "cni/pkg/types, LoadArgs; go-cni sends the pairs in any order",
			Sentence: "An unknown key in CNI_ARGS is an error, unless IgnoreUnknown is true, wherever that stands."},
		{ID: "K06", Level: Library, Grade: Compat, needs: needADD | needChain, do: undeclaredCaps, Source: "SPEC.md section 3, Deriving runtimeConfig",
			Sentence: "any capability supported by the plugin configuration and provided by the runtime should be inserted in the runtimeConfig. (Without any, the runtimeConfig is absent.)"},
	}
}

// declares reports whether the configuration asks for the capability.
func (p *probe) declares(capability string) bool {
	on, _ := at(p.conf(0), "capabilities", capability).(bool)
	return on
}

// capital returns v with the first letter of every key in capitals.
func capital(v any) any {
	switch v := v.(type) {
	case object:
		o := object{}
		for k, e := range v {
			o[strings.ToUpper(k[:1])+k[1:]] = capital(e)
		}
		return o
	case []any:
		var list []any
		for _, e := range v {
			list = append(list, capital(e))
		}
		return list
	}
	return v
}

// examples are values for capabilities, in the spelling of CONVENTIONS.md, that a
// plugin which has the capability accepts.
func (p *probe) examples() object {
	prefix, _ := p.sample()
	return object{
		"portMappings": []any{object{"hostPort": freePort(), "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}},
		"bandwidth":    object{"ingressRate": 80000000, "ingressBurst": 8000000, "egressRate": 80000000, "egressBurst": 8000000},
		"dns":          object{"servers": []any{"192.0.2.53"}, "searches": []any{"conformance.invalid"}, "options": []any{"ndots:2"}},
		"ipRanges":     []any{[]any{object{"subnet": prefix.Masked().String()}}},
	}
}

// freePort returns a port of the host that nobody has: judgements may run beside each
// other. Where none can be tried, as in a new namespace whose loopback is down, nobody
// is there to have it.
func freePort() uint16 {
	ports, err := port.Find(1)
	if err != nil {
		return uint16(10000 + rand.N(20000))
	}
	return ports[0]
}

// withCap gives the plugin one capability argument.
func withCap(name string, value any) mod { return with("runtimeConfig", object{name: value}) }

// capitalKeys compares both spellings: the verdict and what the result says.
func capitalKeys(p *probe) {
	tried := 0
	examples := p.examples()
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		if !p.declares(name) {
			continue
		}
		tried++
		example := clone(examples[name])
		a, b := p.attachment(0), p.attachment(0)
		lower := a.add(withCap(name, example))
		a.del()
		upper := b.add(withCap(name, capital(example)))
		b.del()
		if (lower.exit == 0) != (upper.exit == 0) {
			p.failf("%s: one spelling of its keys is accepted, the other is not", name)
			p.see(upper)
		} else if name == "dns" && !sameJSON(encode(object{"dns": a.parsed()["dns"]}), encode(object{"dns": b.parsed()["dns"]})) {
			p.failf("dns: keys in capitals are ignored")
			p.see(upper)
		}
	}
	if tried == 0 {
		p.skipf("the configuration declares no capability whose keys differ in spelling")
	}
}

// capCase is a capability with a value that is wrong for anybody.
type capCase struct {
	name  string
	wrong any
}

func honouredCaps(p *probe) {
	tried := false
	for _, c := range []capCase{
		{"mac", "not-a-mac"}, {"ips", []any{"300.1.1.1"}}, {"portMappings", []any{object{"hostPort": "x"}}},
		{"bandwidth", object{"ingressRate": "x"}}, {"dns", object{"servers": "x"}}, {"ipRanges", []any{[]any{object{"subnet": "x"}}}},
	} {
		if p.declares(c.name) {
			tried = true
			p.refused("ADD with a wrong "+c.name, p.attachment(0).add(withCap(c.name, c.wrong)))
		}
	}
	if p.declares("mac") && p.target.Kind != KindIPAM {
		tried = true
		p.honoursMAC()
	}
	if p.declares("ips") {
		p.honoursIP()
	}
	if p.declares("dns") {
		a := p.attachment(0)
		o := a.add(withCap("dns", object{"servers": []any{"192.0.2.53"}}))
		if o.exit != 0 {
			p.refused("ADD with dns", o)
		} else if !slices.Contains(texts(at(a.parsed(), "dns", "nameservers")), "192.0.2.53") {
			p.failf("dns is accepted and ignored")
			p.see(o)
		}
	}
	if !tried {
		p.skipf("the configuration declares no capability that the suite knows")
	}
}

func (p *probe) honoursMAC() {
	const mac = "02:cf:00:00:00:21"
	a := p.attachment(0)
	o := a.add(withCap("mac", mac))
	if o.exit != 0 {
		p.refused("ADD with mac", o)
		return
	}
	if own, _ := a.own(); own == nil || own["mac"] != mac {
		p.failf("mac is accepted and ignored")
		p.see(o)
	}
}

func (p *probe) honoursIP() {
	prefix, _ := p.sample()
	want := netip.PrefixFrom(offset(prefix, 30), prefix.Bits()).String()
	a := p.attachment(0)
	o := a.add(withCap("ips", []any{want}))
	if o.exit != 0 {
		p.refused("ADD with ips", o)
		return
	}
	if !slices.Contains(a.addresses(), want) {
		p.failf("ips is accepted and ignored")
		p.see(o)
	}
}

// precedence gives three MACs at once, and takes the strongest away one by one.
func precedence(p *probe) {
	if !p.declares("mac") || p.target.Kind == KindIPAM {
		p.skipf("the configuration does not declare mac, the capability that has all three sources")
	}
	const strong, middle, weak = "02:cf:00:00:00:31", "02:cf:00:00:00:32", "02:cf:00:00:00:33"
	runtimeConfig := withCap("mac", strong)
	args := with("args", object{"cni": object{"mac": middle}})
	add := func(mods ...mod) (string, *outcome) {
		a := p.attachment(0)
		c := a.call("ADD", mods...)
		c.vars["CNI_ARGS"] = "IgnoreUnknown=1;MAC=" + weak
		o := a.run(c)
		p.ok("ADD with a MAC from several sources", o)
		own, _ := a.own()
		mac, _ := own["mac"].(string)
		a.del()
		return mac, o
	}
	if mac, o := add(runtimeConfig, args); mac != strong {
		p.failf("runtimeConfig.mac does not beat the others")
		p.see(o)
	}
	if mac, o := add(args); mac == weak {
		p.failf("CNI_ARGS beat args.cni.mac")
		p.see(o)
	}
}

func optionalArgs(p *probe) {
	p.accepted("labels in args.cni", with("args", object{"cni": object{"labels": []any{object{"key": "app", "value": "conformance"}}}}))
	p.accepted("unknown keys in args.cni", with("args", object{"cni": object{"conformance": object{"a": []any{1}}}}))
}

func unknownArgs(p *probe) {
	if !p.readsArgs() {
		p.skipf("the plugin reads no CNI_ARGS: it refuses nothing in them")
	}
	add := func(args string) *outcome {
		a := p.attachment(0)
		c := a.call("ADD")
		c.vars["CNI_ARGS"] = args
		o := a.run(c)
		a.del()
		return o
	}
	p.refused("an unknown key in CNI_ARGS", add("CONFORMANCE=1"))
	for _, args := range []string{
		"IgnoreUnknown=1;CONFORMANCE=1", "CONFORMANCE=1;IgnoreUnknown=1", "IgnoreUnknown=true;CONFORMANCE=1",
		"K8S_POD_UID=u;IgnoreUnknown=1;K8S_POD_NAMESPACE=n;K8S_POD_INFRA_CONTAINER_ID=i;K8S_POD_NAME=p",
	} {
		p.ok("CNI_ARGS "+args, add(args))
	}
}

// undeclaredCaps goes through libcni, which must hold back what is not declared.
func undeclaredCaps(p *probe) {
	a := p.attachment(0)
	r := p.runtime(a, []object{a.conf()}, nil, nil)
	r.caps = map[string]any{"conformance": object{"a": 1}}
	if p.did("ADD with an undeclared capability", r.add()) {
		p.did("DEL with an undeclared capability", r.del())
	}
	p.accepted("no runtimeConfig", without("runtimeConfig"))
}
