package cni

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmnet-cni/vmnet/conformance/cni/internal/double"
)

const srcFormat = "SPEC.md section 1, Configuration format"

// stdinChecks are about the configuration that the plugin reads: group I.
func stdinChecks() []Check {
	return []Check{
		{ID: "I01", Level: Must, Grade: Compat, do: notAnObject, Source: srcErrorTable,
			Sentence: "Failed to decode content. For example, failed to unmarshal network config from bytes or failed to decode version info from string."},
		{ID: "I02", Level: Must, Grade: Compat, do: unreadable, Source: srcErrorTable,
			Sentence: "I/O failure. For example, failed to read network config bytes from stdin."},
		{ID: "I03", Level: Must, Grade: Compat, do: badNames, Source: srcFormat,
			Sentence: "name: Must start with an alphanumeric character, optionally followed by any combination of one or more alphanumeric characters, underscore, dot (.) or hyphen (-). Must not contain characters disallowed in file paths."},
		{ID: "I04", Level: Must, Grade: Compat, do: badVersions, Source: srcErrorTable,
			Sentence: "Incompatible CNI version"},
		{ID: "I05", Level: Must, Grade: Compat, do: versionNoText, Source: srcErrorTable,
			Sentence: "Failed to decode content. For example, […] failed to decode version info from string."},
		{ID: "I06", Level: Library, Grade: Compat, needs: needADD, do: noVersion, Source: "cni/pkg/version",
			Sentence: "A configuration without cniVersion is one of 0.1.0."},
		{ID: "I07", Level: Must, Grade: Compat, needs: needADD, do: runtimesKeys, Source: "SPEC.md section 3, Deriving request configuration from plugin configuration",
			Sentence: "The runtime must insert an object [runtimeConfig] consisting of the union of capabilities provided by the plugin and requested by the runtime. All other fields not prefixed with cni.dev/ should be passed through unaltered."},
		{ID: "I08", Level: Library, Grade: Compat, needs: needADD, do: capabilitiesStay, Source: "libcni, which leaves capabilities in the request",
			Sentence: "capabilities may be in the request."},
		{ID: "I09", Level: Should, Grade: Compat, needs: needADD, do: unknownField, Source: srcErrorTable,
			Sentence: "Unsupported field in network configuration. The error message must contain the key and value of the unsupported field."},
		{ID: "I10", Level: Should, Grade: Compat, needs: needADD | needAnIface, do: wellKnownDNS, Source: "SPEC.md section 1, Plugin configuration objects",
			Sentence: "Plugins that consume any of these configuration keys should respect their intended semantics."},
		{ID: "I11", Level: Must, Grade: Spec, needs: needADD, do: malformedValues, Source: srcErrorTable,
			Sentence: "Invalid network config. If some validations on network configs do not pass, this error will be raised."},
		{ID: "I12", Level: Library, Grade: Compat, needs: needADD | needChain, do: listKeys, Source: srcFormat,
			Sentence: "disableCheck: If disableCheck is true, runtimes must not call CHECK; cniVersions, disableGC, loadOnlyInlinedPlugins and plugins are the runtime's too and reach no plugin."},
	}
}

// misuse executes verb with other stdin, in a domain that need not exist.
func (p *probe) misuse(verb string, stdin []byte) *outcome {
	a := p.attachment(0)
	a.netns = orElse(a.netns, "vm://nothing")
	c := a.call(verb)
	c.stdin = stdin
	return a.run(c)
}

func notAnObject(p *probe) {
	for _, s := range []struct{ what, stdin string }{
		{"empty stdin", ""}, {"garbage", "not json"}, {"an array", "[]"}, {"a number", "7"}, {"half an object", `{"cniVersion":`},
	} {
		for _, verb := range []string{"ADD", "CHECK"} {
			p.refused(verb+" with "+s.what, p.misuse(verb, []byte(s.stdin)), 6)
		}
	}
}

func unreadable(p *probe) {
	dir, err := os.Open(p.work)
	if err != nil {
		p.stopf("open a directory: %v", err)
	}
	defer func() { _ = dir.Close() }()
	out, err := os.Create(filepath.Join(p.work, p.name()))
	if err != nil {
		p.stopf("create a file: %v", err)
	}
	_ = out.Close()
	wo, err := os.OpenFile(out.Name(), os.O_WRONLY, 0)
	if err != nil {
		p.stopf("open a file to write: %v", err)
	}
	defer func() { _ = wo.Close() }()
	for _, in := range []struct {
		what string
		f    *os.File
	}{{"a directory", dir}, {"a file open for writing", wo}} {
		a := p.attachment(0)
		a.netns = orElse(a.netns, "vm://nothing")
		c := a.call("ADD")
		c.stdinFd = in.f
		p.refused("ADD with "+in.what+" as stdin", a.run(c), 5)
	}
}

func badNames(p *probe) {
	p.refused("ADD without name", p.misuse("ADD", encode(p.conf(0, without("name")))), 7)
	for _, name := range []string{"", "../x", "a b", "-a", "a/b"} {
		p.refused("ADD with name "+name, p.misuse("ADD", encode(p.conf(0, with("name", name)))), 7)
	}
}

func badVersions(p *probe) {
	for _, v := range []string{"9.9.9", "abc", "1.1.0-rc1", "1.1"} {
		o := p.misuse("ADD", encode(p.conf(0, version(v))))
		e := p.refused("ADD with cniVersion "+v, o, 1)
		if e != nil && !slices.ContainsFunc(p.versions, func(s string) bool { return strings.Contains(e.text(), s) }) {
			p.failf("ADD with cniVersion %s: the error names no supported version", v)
			p.see(o)
		}
	}
}

func versionNoText(p *probe) {
	p.refused("ADD with the number 1.1 as cniVersion", p.misuse("ADD", encode(p.conf(0, with("cniVersion", 1.1)))), 6)
}

func noVersion(p *probe) {
	a := p.attachment(0, without("cniVersion"))
	o := a.add()
	if o.exit != 0 {
		p.refused("ADD without cniVersion", o, 1)
		return
	}
	v, _ := a.parsed()["cniVersion"].(string)
	if p.ok("ADD without cniVersion", o) && !slices.Contains([]string{"", "0.1.0", "0.2.0"}, v) {
		p.failf("ADD without cniVersion: the result says %s", v)
		p.see(o)
	}
}

// accepted makes an attachment with more in its configuration and takes it back.
func (p *probe) accepted(what string, mods ...mod) *attachment {
	a := p.attachment(0, mods...)
	if p.ok("ADD with "+what, a.add()) {
		p.ok("DEL with "+what, a.del())
	}
	return a
}

func runtimesKeys(p *probe) {
	p.accepted("an empty runtimeConfig", with("runtimeConfig", object{}))
	p.accepted("args", with("args", object{"cni": object{}, "org.example": object{"a": 1}}))
	p.accepted("a key cni.dev/conformance", with("cni.dev/conformance", object{"a": []any{1}}))
	p.accepted("a key cni.dev/valid-attachments", with(validKey, []any{}))
}

func capabilitiesStay(p *probe) {
	caps, _ := p.conf(0)["capabilities"].(object)
	if caps == nil {
		caps = object{}
	}
	caps = maps.Clone(caps)
	caps["conformance"] = true
	p.accepted("capabilities", with("capabilities", caps))
}

func unknownField(p *probe) {
	const key, value = "conformanceField", "conformance-value"
	a := p.attachment(0, with(key, object{"bar": value}))
	o := a.add()
	if o.exit == 0 {
		p.ok("ADD with an unknown field", o)
		return
	}
	e := p.refused("ADD with an unknown field", o, 2)
	if e != nil && (!strings.Contains(e.text(), key) || !strings.Contains(e.text(), value)) {
		p.failf("ADD with an unknown field: the message lacks its key or its value")
		p.see(o)
	}
}

// wellKnownDNS demands all of the dictionary in the result, or nothing.
func wellKnownDNS(p *probe) {
	given := object{"nameservers": []any{"192.0.2.53", "2001:db8::53"}, "domain": "conformance.invalid",
		"search": []any{"a.conformance.invalid", "b.conformance.invalid"}, "options": []any{"ndots:3"}}
	a := p.attachment(0, with("dns", given))
	o := a.add()
	if o.exit != 0 {
		p.refused("ADD with dns", o, 2, 7)
		return
	}
	got, _ := a.parsed()["dns"].(object)
	found := 0
	for _, key := range []string{"nameservers", "search", "options"} {
		if isPrefix(texts(given[key]), texts(got[key])) {
			found++
		}
	}
	if got["domain"] == given["domain"] {
		found++
	}
	if found != 0 && found != len(given) {
		p.failf("dns: %d of its %d keys are in the result as given", found, len(given))
		p.see(o)
	}
}

func isPrefix(short, long []string) bool {
	return len(short) <= len(long) && slices.Equal(short, long[:len(short)])
}

// malformedValues demands the codes for a bad configuration, where the plugin
// looks at the field at all, and nothing left behind even before a DEL. What the
// target itself calls bad must not be accepted.
func malformedValues(p *probe) {
	type patch struct {
		what string
		mod  mod
		must bool
	}
	patches := []patch{
		{"dns that is a text", with("dns", "x"), false},
		{"dns.nameservers that is a text", with("dns", object{"nameservers": "x"}), false},
		{"ipam that is a text", with("ipam", "x"), false},
		{"ipam.type that is a number", with("ipam", object{"type": 7}), false},
	}
	for _, bad := range p.target.Bad {
		patches = append(patches, patch{bad, patched(bad), true})
	}
	for _, bad := range patches {
		a := p.attachment(0, bad.mod)
		before := p.calm()
		o := a.add()
		if o.exit == 0 && !bad.must {
			continue
		}
		p.refused("ADD with "+bad.what, o, 2, 6, 7)
		if left := p.take().more(before); len(left) > 0 && o.exit != 0 {
			p.failf("ADD with %s: refused, but something was made", bad.what)
			p.see(o)
		}
		a.bare("DEL")
	}
}

// listKeys goes through libcni: what a list says to the runtime must neither
// reach the plugins nor be needed by them.
func listKeys(p *probe) {
	spy := p.standIn(double.Neighbour)
	a := p.attachment(0)
	r := p.runtime(a, []object{a.conf(), {"type": spy.name}}, []string{spy.dir}, object{
		"cniVersions": []any{p.version()}, "disableCheck": true, "disableGC": true, "loadOnlyInlinedPlugins": true,
	})
	if !p.did("ADD of a list", r.add()) {
		return
	}
	before := len(spy.calls(""))
	p.did("CHECK of a list with disableCheck", r.check())
	if _, ok := p.atLeast("1.1.0"); ok {
		p.did("GC of a list with disableGC", r.gc())
	}
	if len(spy.calls("")) != before {
		p.failf("libcni executed CHECK or GC all the same")
	}
	p.did("DEL of a list", r.del())
	for _, rec := range spy.calls("") {
		for _, key := range []string{"cniVersions", "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "plugins"} {
			if strings.Contains(string(rec.Stdin), `"`+key+`"`) {
				p.failf("%s reached a plugin", key)
			}
		}
	}
}
