package cni

import (
	"net/netip"
	"os"
	"strings"

	"github.com/vmnet-cni/vmnet/conformance/cni/internal/double"
)

const srcCHECK = "SPEC.md section 2, CHECK"

// checkChecks are about CHECK: group C.
func checkChecks() []Check {
	const needs = needADD | needCHECK
	return []Check{
		{ID: "C01", Level: Must, Grade: Compat, needs: needs, do: checkAfterADD, Source: srcCHECK,
			Sentence: "The plugin must handle CHECK being called immediately after an ADD, and therefore should allow a reasonable convergence delay for any asynchronous resources."},
		{ID: "C02", Level: Must, Grade: Spec, needs: needs, do: checkNoPrevResult, Source: srcCHECK,
			Sentence: "The plugin must consult the prevResult to determine the expected interfaces and addresses."},
		{ID: "C03", Level: Should, Grade: Spec, needs: needs | needAnIface, do: checkDrift, Source: srcCHECK,
			Sentence: "The plugin should return an error if a resource included in the CNI Result type (interface, address or route) was created by the plugin, and is listed in prevResult, but is missing or in an invalid state."},
		{ID: "C04", Level: Must, Grade: Compat, needs: needs, do: checkLaterPlugins, Source: srcCHECK,
			Sentence: "The plugin must allow for a later chained plugin to have modified networking resources, e.g. routes, on ADD."},
		{ID: "C05", Level: Should, Grade: Compat, needs: needs, do: checkUntracked, Source: srcCHECK,
			Sentence: "The plugin should return an error if other resources not tracked in the Result type such as the following are missing or are in an invalid state: Firewall rules, Traffic shaping controls, IP reservations, External dependencies such as a daemon required for connectivity"},
		{ID: "C06", Level: Should, Grade: Compat, needs: needDelegate | needCHECK, do: checkDelegate, Source: srcCHECK,
			Sentence: "The plugin should call CHECK on any delegated (e.g. IPAM) plugins and pass any errors on to its caller."},
		{ID: "C07", Level: Must, Grade: Spec, needs: needs, do: checkUnknown, Source: srcCHECK,
			Sentence: "The plugin should return an error if it is aware of a condition where the container is generally unreachable. (One that was never added, or was deleted, is.)"},
		{ID: "C08", Level: Library, Grade: Compat, needs: needs, do: checkReadsOnly, Source: srcCHECK,
			Sentence: "CHECK is a way for a runtime to probe the status of an existing container. (It may be called at any time, and changes nothing.)"},
	}
}

// checked makes an attachment whose CHECK says yes; without that, a no means
// nothing.
func (p *probe) checked() *attachment {
	a := p.attachment(0)
	a.mustAdd()
	if o := a.check(); o.exit != 0 {
		p.see(o)
		p.skipf("CHECK says no to a whole attachment (C01): its no proves nothing")
	}
	return a
}

func checkAfterADD(p *probe) {
	for _, v := range p.known() {
		if since(v, "0.4.0") {
			a := p.attachment(0, version(v))
			a.mustAdd()
			p.ok("CHECK after ADD at "+v, a.run(a.call("CHECK", a.prev())))
			a.del()
		}
	}
}

func checkNoPrevResult(p *probe) {
	a := p.checked()
	p.refused("CHECK without prevResult", a.check(without("prevResult")))
}

// changed returns a mod that changes the prevResult.
func changed(fn func(res object)) mod {
	return func(o object) {
		if res, ok := o["prevResult"].(object); ok {
			fn(res)
		}
	}
}

// checkDrift makes prevResult and what is there differ: first by changing
// prevResult, then by changing what is there.
func checkDrift(p *probe) {
	a := p.checked()
	_, own := a.own()
	if own < 0 {
		p.stopf("the result lacks the container's interface")
	}
	ifc := func(fn func(i object)) mod {
		return changed(func(res object) { fn(objects(res["interfaces"])[own]) })
	}
	p.refused("CHECK with another mac in prevResult", a.check(ifc(func(i object) { i["mac"] = "02:cf:00:00:00:09" })))
	p.refused("CHECK with another mtu in prevResult", a.check(ifc(func(i object) {
		mtu, _ := i["mtu"].(float64)
		i["mtu"] = orElse(mtu, 1500) - 200
	})))
	p.refused("CHECK with an interface in prevResult that is not there", a.check(changed(func(res object) {
		objects(res["interfaces"])[own]["name"] = "conf9"
	})))
	if len(a.addresses()) > 0 {
		p.refused("CHECK with another address in prevResult", a.check(changed(otherAddress)))
	}
	for _, what := range []string{"mac", "mtu", "address", "route", "socket", "host", "interface"} {
		b := p.attachment(0)
		b.mustAdd()
		if what == "address" && len(b.addresses()) == 0 || !p.drift(b, what) {
			continue
		}
		p.refused("CHECK after a drift: "+what, b.check())
		b.del()
		b.dropDomain()
	}
}

// otherAddress puts addresses into the result that nobody has.
func otherAddress(res object) {
	for _, ip := range objects(res["ips"]) {
		text, _ := ip["address"].(string)
		if prefix, err := netip.ParsePrefix(text); err == nil {
			ip["address"] = netip.PrefixFrom(prefix.Addr().Next().Next().Next(), prefix.Bits()).String()
		}
	}
}

func checkLaterPlugins(p *probe) {
	a := p.checked()
	const route = "203.0.113.0/24"
	if ns := p.domains.state(); ns != nil && p.target.Kind == KindInterface {
		if err := ns.addRoute(a.netns, a.ifname, route); err != nil {
			p.stopf("add a route: %v", err)
		}
	}
	later := changed(func(res object) {
		if p.target.Kind != KindIPAM {
			list, _ := res["interfaces"].([]any)
			res["interfaces"] = append(list, object{"name": "conf8", "mac": "02:cf:00:00:00:08", "sandbox": a.netns})
		}
		routes, _ := res["routes"].([]any)
		if p.target.Kind == KindInterface {
			routes = append(routes, object{"dst": route})
		}
		res["routes"] = routes
		res["dns"] = object{"nameservers": []any{"192.0.2.88"}}
	})
	p.ok("CHECK after a later plugin added to the result", a.check(later))
}

func checkUntracked(p *probe) {
	tried := false
	for _, what := range []string{"reservation", "daemon-stop"} {
		a := p.checked()
		if p.target.Drift == "" || !p.drift(a, what) {
			continue
		}
		tried = true
		p.refused("CHECK after a drift: "+what, a.check())
		if what == "daemon-stop" {
			p.drift(a, "daemon-start")
		}
		a.del()
	}
	if p.checkForward() || tried {
		return
	}
	if !p.loseFiles() {
		p.skipf("nothing to take away: the target has no drift hook, and ADD makes no file in its Dirs")
	}
}

// checkForward takes a forwarded port away, which no result tells of, and reports
// whether there is such a thing.
func (p *probe) checkForward() bool {
	if p.target.Drift == "" || !p.declares("portMappings") {
		return false
	}
	a := p.attachment(0, withCap("portMappings", []any{object{"hostPort": freePort(), "containerPort": 80, "protocol": "tcp"}}))
	a.mustAdd()
	defer a.del()
	if !p.drift(a, "forward") {
		return false
	}
	p.refused("CHECK after a drift: forward", a.check())
	return true
}

// loseFiles removes what ADD made in the target's directories, where reservations
// are, and reports whether there was anything.
func (p *probe) loseFiles() bool {
	before := p.take()
	a := p.checked()
	lost := 0
	for _, k := range p.held(before) {
		if name, isFile := strings.CutPrefix(k, "file "); isFile && os.Remove(name) == nil {
			lost++
		}
	}
	if lost > 0 {
		p.refused("CHECK after the files that ADD made are gone", a.check())
	}
	return lost > 0
}

func checkDelegate(p *probe) {
	d := p.ipam()
	a := d.attachment()
	a.mustAdd()
	if o := a.check(); !p.ok("CHECK", o) {
		return
	}
	if len(d.calls("CHECK")) == 0 {
		p.failf("the IPAM plugin is not executed with CHECK")
	}
	d.verbs(map[string]double.Behaviour{"CHECK": {Code: 123, Msg: "conformance: no"}})
	p.refused("CHECK whose IPAM plugin fails", a.check())
}

func checkUnknown(p *probe) {
	a := p.checked()
	never := p.attachment(0)
	p.refused("CHECK of what was never added", never.check(func(o object) { o["prevResult"] = clone(a.parsed()) }))
	other := a.sibling(0, a.ifname)
	other.id = p.name()
	p.refused("CHECK of another container in the same domain", other.check(func(o object) { o["prevResult"] = clone(a.parsed()) }))
	p.ok("DEL", a.del())
	p.refused("CHECK after DEL", a.check())
}

func checkReadsOnly(p *probe) {
	a := p.checked()
	before := p.calm()
	for range 3 {
		p.ok("CHECK again", a.check())
	}
	if changes := before.changes(p.take()); changes != "" {
		p.failf("CHECK changes what is there")
		p.seen = append(p.seen, p.normal(changes))
	}
}
