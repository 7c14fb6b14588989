package cni

import (
	"encoding/json"
	"slices"
)

// An attachment is one (container ID, ifname) of a network, as the runtime sees
// it. It is taken back when the check is over.
type attachment struct {
	p           *probe
	net         int
	id          string
	netns       string
	ifname      string
	mods        []mod
	path        string // CNI_PATH
	result      json.RawMessage
	touched     bool // an ADD was tried
	ownedDomain bool
}

// attachment returns one of network n that nothing has been executed for.
func (p *probe) attachment(n int, mods ...mod) *attachment {
	a := &attachment{p: p, net: n, id: p.name(), ifname: p.target.IfName, mods: mods, path: p.path()}
	if p.target.Domain != DomainNone {
		p.warmUp(n)
		p.base.merge(p.session.base)
		ref, err := p.domains.create(a.id)
		if err != nil {
			p.stopf("isolation domain: %v", err)
		}
		a.netns, a.ownedDomain = ref, true
	}
	p.cleanup(a.tidy)
	return a
}

// sibling returns another attachment of the same container, to interface ifname
// of network n.
func (a *attachment) sibling(n int, ifname string, mods ...mod) *attachment {
	a.p.warmUp(n)
	a.p.base.merge(a.p.session.base)
	b := &attachment{p: a.p, net: n, id: a.id, netns: a.netns, ifname: ifname, mods: mods, path: a.path}
	a.p.cleanup(b.tidy)
	return b
}

// tidy takes the attachment back, as a runtime does after the container.
func (a *attachment) tidy() {
	if a.touched {
		a.del()
	}
	if a.ownedDomain {
		a.dropDomain()
	}
}

// dropDomain ends the isolation domain.
func (a *attachment) dropDomain() {
	if !a.ownedDomain {
		return
	}
	a.ownedDomain = false
	if err := a.p.domains.destroy(a.netns); err != nil {
		a.p.failf("isolation domain: %v", err)
	}
}

// conf is the configuration with the attachment's mods and more.
func (a *attachment) conf(mods ...mod) object {
	return a.p.conf(a.net, slices.Concat(a.mods, mods)...)
}

// call returns the call of a verb for the attachment, to be changed.
func (a *attachment) call(command string, mods ...mod) call {
	vars := map[string]string{"CNI_PATH": a.path}
	if command != "STATUS" && command != "GC" {
		vars["CNI_CONTAINERID"] = a.id
		vars["CNI_NETNS"] = a.netns
		vars["CNI_IFNAME"] = a.ifname
	}
	if command == "ADD" {
		a.touched = true
	}
	return call{command: command, vars: vars, stdin: encode(a.conf(mods...))}
}

// run executes c and keeps the result of an ADD.
func (a *attachment) run(c call) *outcome {
	o := a.p.call(c)
	if c.command == "ADD" && o.exit == 0 && o.broken == nil {
		if docs, err := documents(o.stdout); err == nil && len(docs) > 0 {
			a.result = docs[0]
		}
	}
	return o
}

func (a *attachment) add(mods ...mod) *outcome { return a.run(a.call("ADD", mods...)) }

// mustAdd makes an ADD that the rest of the check stands on.
func (a *attachment) mustAdd(mods ...mod) *outcome {
	o := a.add(mods...)
	if !a.p.ok("ADD", o) {
		panic(ended{})
	}
	if a.result == nil {
		a.p.see(o)
		a.p.stopf("ADD: no result on stdout")
	}
	return o
}

// prev sets prevResult to the result of ADD, as runtimes do for CHECK and DEL.
func (a *attachment) prev() mod {
	return func(o object) {
		var v any
		if a.result != nil && json.Unmarshal(a.result, &v) == nil {
			o["prevResult"] = v
		}
	}
}

func (a *attachment) del(mods ...mod) *outcome {
	return a.run(a.call("DEL", append([]mod{a.prev()}, mods...)...))
}

func (a *attachment) check(mods ...mod) *outcome {
	v, _ := a.p.atLeast("0.4.0")
	return a.run(a.call("CHECK", append([]mod{version(v), a.prev()}, mods...)...))
}

// parsed returns the result of ADD.
func (a *attachment) parsed() object {
	var o object
	if json.Unmarshal(a.result, &o) != nil {
		return object{}
	}
	return o
}

// own returns the interface of the result that is the container's, with its
// index, or nil.
func (a *attachment) own() (object, int) {
	for i, o := range objects(a.parsed()["interfaces"]) {
		if o["name"] == a.ifname && o["sandbox"] == a.netns {
			return o, i
		}
	}
	return nil, -1
}

// addresses returns the addresses of the result, with their prefix lengths.
func (a *attachment) addresses() []string {
	var all []string
	for _, ip := range objects(a.parsed()["ips"]) {
		if s, ok := ip["address"].(string); ok {
			all = append(all, s)
		}
	}
	return all
}
