package cni

import (
	"slices"
	"strings"
)

const srcVersion = "SPEC.md section 5, VERSION Success"

// versionChecks are about VERSION and the versions that it lists: group V.
func versionChecks() []Check {
	return []Check{
		{ID: "V01", Level: Must, Grade: Compat, do: versionDocument, Source: srcVersion,
			Sentence: "Plugins must output a JSON object with the following keys upon a VERSION operation: cniVersion, supportedVersions"},
		{ID: "V02", Level: Must, Grade: Spec, do: versionEcho, Source: srcVersion,
			Sentence: "cniVersion: The value of cniVersion specified on input"},
		{ID: "V03", Level: Library, Grade: Compat, do: versionAnyhow, Source: "libcni and podman, which send CNI_NETNS=dummy and the like",
			Sentence: "VERSION works with nothing on stdin and with any environment."},
		{ID: "V04", Level: Must, Grade: Compat, needs: needADD, do: everyVersion, Source: srcVersion,
			Sentence: "supportedVersions: A list of supported specification versions"},
		{ID: "V05", Level: Library, Grade: Compat, do: exactVersions, Source: "libcni, ValidateNetworkList compares versions as text",
			Sentence: "Versions are listed in the very words of the specification."},
		{ID: "V06", Level: Robust, Grade: Compat, needs: needADD, do: shapes, Source: "SPEC.md section 5, of each version",
			Sentence: "A result has the shape of its version."},
	}
}

func versionDocument(p *probe) {
	o := p.call(call{command: "VERSION", stdin: encode(object{"cniVersion": p.version()})})
	if !p.ok("VERSION", o) {
		return
	}
	doc, why := o.document()
	if why != "" {
		p.see(o)
		p.stopf("VERSION: %s", why)
	}
	if _, ok := doc["cniVersion"].(string); !ok {
		p.failf("VERSION: no cniVersion")
	}
	list := texts(doc["supportedVersions"])
	if len(list) == 0 || slices.Contains(list, "") {
		p.failf("VERSION: supportedVersions is not a list of texts")
	}
	if p.status == Fail {
		p.see(o)
	}
}

func versionEcho(p *probe) {
	for _, v := range []string{"0.4.0", "1.0.0", "1.1.0"} {
		o := p.call(call{command: "VERSION", stdin: encode(object{"cniVersion": v})})
		if !p.ok("VERSION", o) {
			return
		}
		if doc, _ := o.document(); doc["cniVersion"] != v {
			p.failf("VERSION with cniVersion %s: answers with %v", v, doc["cniVersion"])
			p.see(o)
		}
	}
}

func versionAnyhow(p *probe) {
	for _, stdin := range []string{"", "{}", `{"cniVersion":"1.1.0"}`} {
		o := p.call(call{command: "VERSION", stdin: []byte(stdin), vars: map[string]string{
			"CNI_NETNS": "dummy", "CNI_IFNAME": "dummy", "CNI_PATH": "dummy", "CNI_CONTAINERID": "dummy", "CNI_ARGS": "dummy",
		}})
		if p.ok("VERSION with "+stdin+" on stdin", o) {
			if _, why := o.document(); why != "" {
				p.failf("VERSION with %s on stdin: %s", stdin, why)
				p.see(o)
			}
		}
	}
}

// known returns the versions that the plugin lists and the suite knows.
func (p *probe) known() []string {
	return slices.DeleteFunc(knownVersions(), func(v string) bool { return !slices.Contains(p.versions, v) })
}

func everyVersion(p *probe) {
	for _, v := range p.known() {
		a := p.attachment(0, version(v))
		o := a.add()
		if !p.ok("ADD at "+v, o) {
			continue
		}
		p.resultFits(a, v, o)
		c := a.run(a.call("CHECK", a.prev()))
		switch {
		case !since(v, "0.4.0"):
			p.refused("CHECK at "+v, c, 1)
		case c.exit != 0: // whether CHECK succeeds is C01
			if e := p.refused("CHECK at "+v, c); e != nil && e.Code == 1 {
				p.failf("CHECK at %s: refused with code 1", v)
			}
		}
		if !since(v, "1.1.0") {
			p.refused("STATUS at "+v, p.call(a.call("STATUS")), 1)
			p.refused("GC at "+v, p.call(a.call("GC", with(validKey, []any{}))), 1)
		}
		p.ok("DEL at "+v, a.del())
	}
}

// resultFits demands the label and the outline of version v.
func (p *probe) resultFits(a *attachment, v string, o *outcome) {
	res := a.parsed()
	said, _ := res["cniVersion"].(string)
	old := !since(v, "0.3.0")
	if said != v && (!old || said != "") { // below 0.3.0 the key is optional
		p.failf("ADD at %s: the result says %s", v, said)
		p.see(o)
	}
	_, hasIfs := res["interfaces"]
	_, hasIPs := res["ips"]
	_, has4 := res["ip4"]
	_, has6 := res["ip6"]
	if old && (hasIfs || hasIPs) || !old && (has4 || has6) {
		p.failf("ADD at %s: the result has the shape of another version", v)
		p.see(o)
	}
}

func exactVersions(p *probe) {
	for i, v := range p.versions {
		if strings.Count(v, ".") != 2 || strings.Trim(v, "0123456789.") != "" || slices.Contains(p.versions[:i], v) {
			p.failf("VERSION lists %s, or lists it twice", v)
		}
	}
	if p.target.Kind == KindIPAM {
		return // stands in no list
	}
	a := p.attachment(0)
	for _, v := range p.known() {
		r := p.runtime(a, []object{a.conf()}, nil, object{"cniVersion": v})
		p.did("validation of a list of "+v, r.validate())
	}
}

// shapes looks at the keys that came and went from 0.3.0 on.
func shapes(p *probe) {
	for _, v := range p.known() {
		if !since(v, "0.3.0") {
			continue
		}
		a := p.attachment(0, version(v))
		o := a.add()
		if !p.ok("ADD at "+v, o) {
			continue
		}
		bad := len(p.reasons)
		for _, ip := range objects(a.parsed()["ips"]) {
			fam, _ := ip["version"].(string)
			switch {
			case !since(v, "1.0.0") && fam != "4" && fam != "6":
				p.failf("ADD at %s: ips without version", v)
			case since(v, "1.0.0") && ip["version"] != nil:
				p.failf("ADD at %s: ips with version", v)
			}
		}
		for _, i := range objects(a.parsed()["interfaces"]) {
			for _, key := range []string{"mtu", "socketPath", "pciID"} {
				if _, has := i[key]; has && !since(v, "1.0.0") {
					p.failf("ADD at %s: interfaces with %s", v, key)
				}
			}
		}
		if len(p.reasons) > bad {
			p.see(o)
		}
		p.ok("DEL at "+v, a.del())
	}
}
