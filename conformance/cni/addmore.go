package cni

import (
	"slices"
	"strings"
	"sync"

	"github.com/vmnet-cni/vmnet/conformance/cni/internal/double"
)

// The checks of ADD that make more than one, behind other plugins, or fail.

// addTwice makes the second ADD as a runtime should not, and looks that the first
// attachment is whole after it.
func addTwice(p *probe) {
	if p.target.Kind == KindAdjust {
		p.skipf("the plugin adjusts an interface that is there already")
	}
	a := p.attachment(0)
	first := a.mustAdd()
	kept := a.result
	checks := p.checkWorks(a)
	p.refused("ADD of an interface that is there", a.add())
	a.result = kept
	if checks {
		if o := a.check(); o.exit != 0 {
			p.failf("the first attachment does not pass CHECK after it")
			p.see(first)
			p.see(o)
		}
	}
	p.ok("DEL", a.del())
}

// checkWorks reports whether CHECK says yes to a whole attachment, so that a no
// means something. That it must is C01.
func (p *probe) checkWorks(a *attachment) bool {
	_, ok := p.atLeast("0.4.0")
	return ok && a.check().exit == 0
}

// foreign is a result of a plugin that came before.
func (a *attachment) foreign() object {
	ip := object{"address": "198.51.100.7/24", "interface": 0}
	if !since(a.conf()["cniVersion"].(string), "1.0.0") {
		ip["version"] = "4"
	}
	return object{
		"cniVersion": a.conf()["cniVersion"],
		"interfaces": []any{object{"name": "conf0", "mac": "02:cf:00:00:00:07", "sandbox": a.netns}},
		"ips":        []any{ip},
		"routes":     []any{object{"dst": "203.0.113.0/24"}},
		"dns":        object{"nameservers": []any{"192.0.2.99"}},
	}
}

func keepsPrevResult(p *probe) {
	a := p.attachment(0)
	prev := a.foreign()
	o := a.mustAdd(with("prevResult", prev))
	res := a.parsed()
	if !slices.ContainsFunc(objects(res["interfaces"]), func(i object) bool {
		return i["name"] == "conf0" && i["mac"] == "02:cf:00:00:00:07" && i["sandbox"] == a.netns
	}) {
		p.failf("the result lacks the interface of prevResult")
	}
	if !slices.Contains(a.addresses(), "198.51.100.7/24") {
		p.failf("the result lacks the address of prevResult")
	}
	if !slices.ContainsFunc(objects(res["routes"]), func(r object) bool { return r["dst"] == "203.0.113.0/24" }) {
		p.failf("the result lacks the route of prevResult")
	}
	if !slices.Contains(texts(at(res, "dns", "nameservers")), "192.0.2.99") {
		p.failf("the result lacks the name server of prevResult")
	}
	if p.status == Fail {
		p.see(o)
	}
}

func unknownInPrevResult(p *probe) {
	a := p.attachment(0)
	prev := a.foreign()
	prev["conformance"] = object{"a": 1}
	objects(prev["interfaces"])[0]["conformance"] = 1
	p.ok("ADD with unknown keys in prevResult", a.add(with("prevResult", prev)))
}

// addSecond puts the plugin behind a neighbour that made an interface.
func addSecond(p *probe) {
	d := p.standIn(double.Neighbour)
	a := p.attachment(0)
	prev := a.foreign()
	d.behave(map[string]double.Behaviour{"ADD": {Result: prev}})
	r := p.runtime(a, []object{{"type": d.name}, a.conf()}, []string{d.dir}, nil)
	if !p.did("ADD behind another plugin", r.add()) {
		return
	}
	own, index := a.own()
	switch {
	case own == nil && p.target.Kind == KindAdjust: // it passes the result on
		return
	case own == nil:
		p.failf("the result of a list lacks the plugin's interface")
		return
	}
	for _, ip := range objects(a.parsed()["ips"]) {
		if n, ok := ip["interface"].(float64); ok && ip["address"] != "198.51.100.7/24" && int(n) != index {
			p.failf("behind another plugin, an address names the other's interface")
			p.seen = append(p.seen, string(a.result))
		}
	}
	p.did("DEL of the list", r.del())
}

// together runs fn for each attachment at once.
func together(all []*attachment, fn func(a *attachment) *outcome) []*outcome {
	outs := make([]*outcome, len(all))
	var wg sync.WaitGroup
	for i, a := range all {
		wg.Go(func() { outs[i] = fn(a) })
	}
	wg.Wait()
	return outs
}

func (p *probe) allOK(what string, outs []*outcome) {
	for _, o := range outs {
		p.ok(what, o)
	}
}

func parallelContainers(p *probe) {
	var all []*attachment
	for range p.target.Parallel {
		all = append(all, p.attachment(0))
	}
	p.allOK("one of several ADDs at once", together(all, func(a *attachment) *outcome { return a.add() }))
	seen := map[string]bool{}
	for _, a := range all {
		for _, addr := range a.addresses() {
			if seen[addr] && !strings.HasPrefix(addr, "127.") && !strings.HasPrefix(addr, "::1/") {
				p.failf("the same address was given twice")
			}
			seen[addr] = true
		}
	}
	p.allOK("one of several DELs at once", together(all, func(a *attachment) *outcome { return a.del() }))
}

func parallelNetworks(p *probe) {
	first := p.attachment(0)
	all := []*attachment{first}
	for n := 1; n < 4; n++ {
		ifname := p.target.IfName
		if p.target.Kind != KindAdjust {
			ifname = "conf" + string(rune('0'+n))
		}
		all = append(all, first.sibling(n, ifname))
	}
	p.allOK("one of several networks at once", together(all, func(a *attachment) *outcome { return a.add() }))
	p.allOK("DEL of one of several networks at once", together(all, func(a *attachment) *outcome { return a.del() }))
}

// failedADDs makes ADDs fail at different depths and lets the accounts around the
// check find what a DEL leaves.
func failedADDs(p *probe) {
	a := p.attachment(0)
	a.mustAdd()
	if p.target.Kind != KindAdjust {
		kept := a.result
		a.add() // A05
		a.result = kept
	}
	p.ok("DEL after a second ADD", a.del())
	for _, bad := range append([]string{`{"dns": "x"}`, `{"ipam": "x"}`}, p.target.Bad...) {
		b := p.attachment(0, patched(bad))
		b.add()
		b.mods = nil // the operator has mended it
		p.ok("DEL after a refused ADD", b.bare("DEL"))
	}
	if p.noDelegation() != "" {
		return
	}
	for _, verbs := range []map[string]double.Behaviour{
		{"ADD": {Code: 11, Msg: "conformance: no"}}, {"ADD": {Result: object{"ips": []any{object{"address": "x"}}}}},
	} {
		d := p.ipam()
		d.verbs(verbs)
		b := d.attachment()
		p.refused("ADD whose IPAM plugin fails", b.add())
		p.ok("DEL after it", b.bare("DEL"))
	}
}

func uniqueNames(p *probe) {
	a := p.attachment(0)
	o := a.mustAdd()
	names := map[any]bool{}
	for _, i := range objects(a.parsed()["interfaces"]) {
		if names[i["name"]] {
			p.failf("two interfaces of the result have the same name")
			p.see(o)
		}
		names[i["name"]] = true
	}
}

func hasAddress(p *probe) {
	a := p.attachment(0)
	o := a.mustAdd()
	if len(a.addresses()) > 0 {
		return
	}
	conf := a.conf()
	typ, _ := at(conf, "ipam", "type").(string)
	_, subnet := conf["subnet"]
	if typ == "none" || typ == "" && !subnet {
		p.skipf("the configuration gives no addresses: layer 2 only")
	}
	p.failf("the result has no address")
	p.see(o)
}

func undoesDelegate(p *probe) {
	d := p.ipam()
	d.verbs(map[string]double.Behaviour{"ADD": {Code: 123, Msg: "conformance: no"}})
	o := d.attachment().add()
	p.refused("ADD whose IPAM plugin fails", o)
	if len(d.calls("DEL")) == 0 {
		p.failf("the IPAM plugin that failed on ADD is not executed with DEL")
		p.see(o)
	}
}

func dnsOfConfig(p *probe) {
	d := p.ipam()
	res := d.result()
	res["dns"] = object{"nameservers": []any{"192.0.2.1"}}
	d.verbs(map[string]double.Behaviour{"ADD": {Result: res}})
	a := d.attachment(with("dns", object{"nameservers": []any{"192.0.2.2"}}))
	o := a.mustAdd()
	got := texts(at(a.parsed(), "dns", "nameservers"))
	if len(got) == 0 || got[0] != "192.0.2.2" {
		p.failf("dns of the configuration does not come first")
		p.see(o)
	}
}
