package cni

import (
	"slices"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/cni/internal/double"
)

const srcSTATUS = "SPEC.md section 2, STATUS"

// statusChecks are about STATUS: group T.
func statusChecks() []Check {
	const needs = needADD | needSTATUS
	return []Check{
		{ID: "T01", Level: Must, Grade: Compat, needs: needs, do: statusReady, Source: srcSTATUS,
			Sentence: "A plugin must exit with a zero (success) return code if the plugin is ready to service ADD requests. If the plugin knows that it is not able to service ADD requests, it must exit with a non-zero return code and output an error on standard out. […] 50: The plugin is not available; 51: The plugin is not available, and existing containers in the network may have limited connectivity."},
		{ID: "T02", Level: Must, Grade: Compat, needs: needs, do: statusInforms, Source: srcSTATUS,
			Sentence: "Status is purely informational. A plugin MUST NOT rely on STATUS being called. Plugins should always expect other CNI operations (like ADD, DEL, etc) even if STATUS returns an error."},
		{ID: "T03", Level: Must, Grade: Compat, needs: needDelegate | needSTATUS, do: statusDelegate, Source: srcSTATUS,
			Sentence: "If a plugin relies on a delegated plugin (e.g. IPAM) to service ADD requests, it must also execute a STATUS request to that plugin when it receives a STATUS request for itself. If the delegated plugin return an error result, the executing plugin should return an error result."},
		{ID: "T04", Level: Robust, Grade: Compat, needs: needs, do: statusCheap, Source: "containerd executes STATUS whenever kubelet asks for its own, every few seconds",
			Sentence: "STATUS is cheap and changes nothing."},
		{ID: "T05", Level: Should, Grade: Spec, needs: needs, do: statusExhausted, Source: srcSTATUS,
			Sentence: "if a plugin has a limited number of resources (e.g. IP addresses, hardware queues), it should return an error if those resources are exhausted and no new ADD requests can be serviced"},
	}
}

// status executes STATUS with the configuration of a.
func (a *attachment) status(mods ...mod) *outcome {
	v, _ := a.p.atLeast("1.1.0")
	return a.run(a.call("STATUS", append([]mod{version(v)}, mods...)...))
}

func statusReady(p *probe) {
	a := p.attachment(0)
	a.mustAdd() // so it is able
	p.ok("STATUS of a plugin that is ready", a.status())
	if p.target.Drift == "" {
		return
	}
	if p.drift(a, "unable") {
		p.refused("STATUS of a plugin that cannot serve ADD", a.status(), 50, 51)
		p.drift(a, "able")
	}
	if p.drift(a, "daemon-stop") {
		o := a.status()
		if o.exit != 0 {
			p.refused("STATUS without the daemon", o, 50, 51)
		} else {
			p.ok("ADD without the daemon, of which STATUS said that it is ready", p.attachment(0).add())
		}
		p.drift(a, "daemon-start")
		p.ok("ADD with the daemon again", p.attachment(0).add())
	}
	if p.drift(a, "daemon-hang") {
		o := a.status()
		p.drift(a, "daemon-resume")
		p.refused("STATUS while the daemon hangs", o, 50, 51)
	}
	p.ok("STATUS of a plugin that is ready again", a.status())
}

func statusInforms(p *probe) {
	a := p.attachment(0)
	p.ok("ADD that no STATUS came before", a.add())
	p.ok("DEL that no STATUS came before", a.del())
	b := p.attachment(0)
	p.call(b.call("STATUS", version("9.9.9")))
	p.ok("ADD after a STATUS that failed", b.add())
	p.ok("DEL after a STATUS that failed", b.del())
}

func statusDelegate(p *probe) {
	d := p.ipam()
	a := d.attachment()
	p.ok("STATUS", a.status())
	if len(d.calls("STATUS")) == 0 {
		p.failf("the IPAM plugin is not executed with STATUS")
	}
	d.verbs(map[string]double.Behaviour{"STATUS": {Code: 50, Msg: "conformance: no"}})
	p.refused("STATUS whose IPAM plugin says no", a.status())
	d.hide()
	p.refused("STATUS whose IPAM plugin is missing", a.status())
	d.show()
}

// statusCheap compares STATUS with VERSION, which does nothing: the limit is far
// above what a slow machine adds.
func statusCheap(p *probe) {
	a := p.attachment(0)
	a.mustAdd()
	before := p.calm()
	var status, version []time.Duration
	cheap := func() bool {
		return len(status) > 0 && slices.Min(status) <= 10*slices.Min(version)+100*time.Millisecond
	}
	// The best of both counts: a busy machine only adds.
	for n := 0; n < 5 || n < 25 && !cheap(); n++ {
		o := a.status()
		if !p.ok("STATUS", o) {
			return
		}
		status = append(status, o.took)
		version = append(version, p.call(call{command: "VERSION", stdin: encode(p.conf(0))}).took)
	}
	if !cheap() {
		p.failf("STATUS takes more than ten times as long as VERSION and 100 ms")
	}
	if changes := before.changes(p.take()); changes != "" {
		p.failf("STATUS changes what is there")
		p.seen = append(p.seen, p.normal(changes))
	}
}

// statusExhausted takes all addresses of a small network. That has a name of its
// own, since its subnet is another.
func statusExhausted(p *probe) {
	if p.target.Small == "" {
		p.skipf("the target tells no patch that leaves few addresses")
	}
	name, _ := p.conf(0)["name"].(string)
	mods := []mod{with("name", name+"-small"), patched(p.target.Small)}
	first := p.attachment(0, mods...)
	first.mustAdd()
	first.del()
	p.base.merge(p.take()) // what stays is the network's
	if o := first.status(); !p.ok("STATUS of a small network", o) {
		return
	}
	const most = 20
	for range most {
		if p.attachment(0, mods...).add().exit != 0 {
			p.refused("STATUS with no address left", first.status(), 50, 51)
			return
		}
	}
	p.stopf("the small network still has an address after %d ADDs", most)
}
