package cni

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/conformance/cni/internal/double"
)

const srcDEL = "SPEC.md section 2, DEL"

// delChecks are about DEL: group D.
func delChecks() []Check {
	return []Check{
		{ID: "D01", Level: Must, Grade: Compat, needs: needADD, do: delThrice, Source: srcDEL,
			Sentence: "Plugins MUST accept multiple DEL calls for the same (CNI_CONTAINERID, CNI_IFNAME) pair"},
		{ID: "D02", Level: Must, Grade: Compat, do: delNothing, Source: srcDEL,
			Sentence: "[Plugins MUST] return success if the interface in question, or any modifications added, are missing."},
		{ID: "D03", Level: Must, Grade: Compat, needs: needADD, do: delDomainGone, Source: srcDEL,
			Sentence: "an IPAM plugin should generally release an IP allocation and return success even if the container network namespace no longer exists"},
		{ID: "D04", Level: Must, Grade: Compat, needs: needADD, do: delNoNetNS, Source: "SPEC.md section 2, DEL, Input: CNI_NETNS is optional",
			Sentence: "plugins should always complete a DEL action without error to the fullest extent possible, even if some resources or state are missing"},
		{ID: "D05", Level: Should, Grade: Compat, needs: needADD, do: delPrevResults, Source: srcDEL,
			Sentence: "Plugins should still return without error if prevResult is empty for a DEL command, however."},
		{ID: "D06", Level: Should, Grade: Spec, do: delStrangeNetNS, Source: srcDEL,
			Sentence: "DEL command invocations are always considered best-effort (and so CNI_NETNS may name what is no isolation domain)"},
		{ID: "D07", Level: Must, Grade: Compat, needs: needADD, do: delOnlyOwn, Source: "SPEC.md section 3",
			Sentence: "An attachment may be uniquely identified by the (CNI_CONTAINERID, CNI_IFNAME) tuple."},
		{ID: "D08", Level: Must, Grade: Compat, needs: needDelegate, do: delDelegate, Source: srcDelegate,
			Sentence: "If a plugin is executed with CNI_COMMAND=CHECK, DEL, or GC, it must also execute any delegated plugins. If any of the delegated plugins return error, error should be returned by the upper plugin."},
		{ID: "D09", Level: Should, Grade: Compat, needs: needDelegate, do: delBestEffort, Source: srcDEL,
			Sentence: "plugins should always complete a DEL action […] to the fullest extent possible, even if some resources or state are missing"},
		{ID: "D10", Level: Robust, Grade: Compat, needs: needADD, do: delDaemon, Source: srcDEL,
			Sentence: "A DEL succeeds though the daemon behind the plugin is gone; while it hangs, the plugin says \"try again later\" in time."},
		{ID: "D11", Level: Library, Grade: Compat, do: delNotFound, Source: "go-cni takes a DEL error with \"not found\" in it for a success",
			Sentence: "An error of DEL does not say \"not found\": that something is missing is no error."},
		{ID: "D12", Level: Library, Grade: Compat, do: delGarbage, Source: srcErrorTable,
			Sentence: "DEL with a configuration that cannot be read succeeds, or fails with code 6."},
	}
}

func delThrice(p *probe) {
	a := p.attachment(0)
	a.mustAdd()
	for _, what := range []string{"DEL", "second DEL", "third DEL"} {
		p.ok(what, a.del())
	}
}

func delNothing(p *probe) {
	a := p.attachment(0)
	p.ok("DEL of what was never added", a.del())
	a.dropDomain()
	p.ok("DEL of what was never added, without its domain", a.del())
}

// released demands that nothing is left which the attachment held, before a DEL
// with everything right follows. since is what there was before the ADD.
func (p *probe) released(what string, since inventory) {
	var left []string
	if !poll(settleLimit/3, func() bool { left = p.held(since); return len(left) == 0 }) {
		p.failf("%s: does not release %s", what, strings.Join(kinds(left), ", "))
		p.seen = append(p.seen, p.normal("held: "+strings.Join(left, ", ")))
	}
}

func delDomainGone(p *probe) {
	a := p.attachment(0)
	a.dropDomain()
	ref, err := p.domains.file(p.name())
	if err != nil {
		p.stopf("isolation domain: %v", err)
	}
	a.netns, a.ownedDomain = ref, true
	before := p.take()
	a.mustAdd()
	a.dropDomain()
	p.ok("DEL without its domain", a.del())
	p.released("DEL without its domain", before)
	p.ok("second DEL without its domain", a.del())
}

func delNoNetNS(p *probe) {
	for _, what := range []string{"empty", "absent"} {
		a := p.attachment(0)
		before := p.take()
		a.mustAdd()
		c := a.call("DEL", a.prev())
		c.vars["CNI_NETNS"] = ""
		if what == "absent" {
			delete(c.vars, "CNI_NETNS")
		}
		p.ok("DEL with CNI_NETNS "+what, a.run(c))
		p.released("DEL with CNI_NETNS "+what, before)
	}
}

func delPrevResults(p *probe) {
	for _, v := range []struct {
		what string
		mod  mod
	}{
		{"no prevResult", without("prevResult")},
		{"prevResult null", with("prevResult", nil)},
		{"an empty prevResult", with("prevResult", object{})},
		{"a prevResult of version 9.9.9", with("prevResult", object{"cniVersion": "9.9.9", "ips": []any{}})},
		{"a prevResult of something else", with("prevResult", object{"interfaces": "x", "conformance": true})},
	} {
		a := p.attachment(0)
		before := p.take()
		a.mustAdd()
		p.ok("DEL with "+v.what, a.del(v.mod))
		p.released("DEL with "+v.what, before)
	}
}

func delStrangeNetNS(p *probe) {
	sock := filepath.Join(p.work, p.name())
	if err := bindSocket(sock); err != nil {
		p.stopf("make a socket: %v", err)
	}
	p.cleanup(func() { _ = os.Remove(sock) })
	for _, r := range []struct{ what, ref string }{
		{"/dev/null", os.DevNull}, {"a socket", sock}, {"the name of a machine", "vm://conformance"},
	} {
		a := p.attachment(0)
		a.dropDomain()
		a.netns = r.ref
		p.ok("DEL with "+r.what+" as CNI_NETNS", a.del())
	}
}

// bindSocket makes the file of a socket on which nobody listens.
func bindSocket(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
}

// delOnlyOwn deletes one of several attachments that share its container, its
// network or its interface's name, and looks at the others. One that the plugin
// cannot make beside the rest is left out.
func delOnlyOwn(p *probe) {
	a := p.attachment(0)
	a.mustAdd()
	siblings := []*attachment{p.attachment(0)}
	if p.target.Kind != KindAdjust {
		siblings = append(siblings, a.sibling(0, "conf1"), a.sibling(1, "conf2"))
	}
	var others []*attachment
	var works []bool
	for i, x := range siblings {
		o := x.add()
		if i == 0 {
			p.ok("ADD", o)
		}
		if o.exit == 0 {
			others, works = append(others, x), append(works, p.checkWorks(x))
		}
	}
	held := p.heldBy(others, a)
	p.ok("DEL", a.del())
	for i, x := range others {
		p.alive("DEL of one attachment", x, works[i])
		if ns := p.domains.state(); ns != nil && p.target.Kind == KindInterface {
			if has, err := ns.hasLink(x.netns, x.ifname); err == nil && !has {
				p.failf("another attachment's interface is gone after a DEL")
			}
		}
	}
	now := p.take()
	for _, k := range held {
		if now[k] == 0 {
			p.failf("a DEL took away what another attachment holds")
		}
	}
}

// heldBy returns what is held whose name has the container ID of one of the
// attachments in it, and not that of not.
func (p *probe) heldBy(all []*attachment, not *attachment) []string {
	var names []string
	for _, k := range p.held(p.base) {
		if strings.Contains(k, not.id) {
			continue
		}
		for _, a := range all {
			if strings.Contains(k, a.id) {
				names = append(names, k)
			}
		}
	}
	return names
}

func delDelegate(p *probe) {
	d := p.ipam()
	a := d.attachment()
	a.mustAdd()
	d.verbs(map[string]double.Behaviour{"DEL": {Code: 123, Msg: "conformance: no"}})
	o := a.del()
	p.refused("DEL whose IPAM plugin fails", o)
	if len(d.calls("DEL")) == 0 {
		p.failf("the IPAM plugin is not executed with DEL")
	}
	d.verbs(nil)
	p.ok("DEL whose IPAM plugin works again", a.del())
}

// goneThough demands that the plugin's own part of the attachment goes although
// the IPAM plugin's does not. before is what there was with the attachment.
func (p *probe) goneThough(why string, a *attachment, before inventory) {
	if ns := p.domains.state(); ns != nil {
		if has, err := ns.hasLink(a.netns, a.ifname); err == nil && has {
			p.failf("%s: the interface stays", why)
		}
		return
	}
	if len(p.target.Dirs) == 0 && p.target.Inventory == "" {
		p.skipf("nothing to see it by: the target has neither Dirs nor Inventory")
	}
	if len(before.more(p.take())) == 0 {
		p.failf("%s: nothing of the attachment goes", why)
	}
}

func delBestEffort(p *probe) {
	d := p.ipam()
	a := d.attachment()
	a.mustAdd()
	before := p.take()
	d.hide()
	a.del() // whether it says so is D08
	d.show()
	p.goneThough("DEL without the IPAM plugin's binary", a, before)
	p.ok("DEL with the binary again", a.del())
}

func delNotFound(p *probe) {
	a := p.attachment(0)
	outs := []*outcome{a.del(), p.misuse("DEL", []byte("not json")), p.misuse("DEL", encode(p.conf(0, version("9.9.9"))))}
	if p.target.Domain != DomainNone && p.noDelegation() == "" {
		b := p.attachment(0, with("ipam", object{"type": "conformance-missing"}))
		outs = append(outs, b.del())
	}
	for _, o := range outs {
		if e, why := o.errorDoc(); o.exit != 0 && why == "" && strings.Contains(strings.ToLower(e.text()), "not found") {
			p.failf("an error of DEL says not found")
			p.see(o)
		}
	}
}

func delGarbage(p *probe) {
	for _, s := range []string{"", "not json", "[]"} {
		o := p.misuse("DEL", []byte(s))
		if o.exit != 0 {
			p.refused("DEL with garbage on stdin", o, 6)
			continue
		}
		p.silent("DEL with garbage on stdin", o)
	}
}
