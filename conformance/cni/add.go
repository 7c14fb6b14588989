package cni

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vmnet-cni/vmnet/conformance/cni/internal/double"
)

const (
	srcADD    = "SPEC.md section 2, ADD"
	srcResult = "SPEC.md section 5, ADD Success"
)

// addChecks are about ADD and its result: group A.
func addChecks() []Check {
	return []Check{
		{ID: "A01", Level: Must, Grade: Compat, needs: needADD, do: resultVersion, Source: srcResult,
			Sentence: "cniVersion: The same version supplied on input"},
		{ID: "A02", Level: Must, Grade: Compat, needs: needADD, do: resultInterfaces, Source: srcResult,
			Sentence: "interfaces: An array of all interfaces created by the attachment, including any host-level interfaces. sandbox: […] or empty if on the host. For interfaces created inside the container, this should be the value passed via CNI_NETNS."},
		{ID: "A03", Level: Must, Grade: Compat, needs: needADD | needAnIface, do: interfaceShapes, Source: srcResult,
			Sentence: "mac (string): The hardware address of the interface. mtu (uint). socketPath (string, optional): An absolute path to a socket file corresponding to this interface. pciID (string, optional)"},
		{ID: "A04", Level: Must, Grade: Compat, needs: needADD, do: addressShapes, Source: srcResult,
			Sentence: "ips: address (string): an IP address in CIDR notation; gateway (string): the default gateway for this subnet, if one exists; interface (uint): the index into the interfaces list. routes: dst: The destination of the route, in CIDR notation"},
		{ID: "A05", Level: Must, Grade: Compat, needs: needADD, do: addTwice, Source: srcADD,
			Sentence: "If an interface of the requested name already exists in the container, the CNI plugin MUST return with an error."},
		{ID: "A06", Level: Must, Grade: Spec, needs: needADD, do: keepsPrevResult, Source: srcResult,
			Sentence: "Plugins provided a prevResult key as part of their request configuration must output it as their result, with any possible modifications made by that plugin included."},
		{ID: "A07", Level: Must, Grade: Compat, needs: needADD, do: unknownInPrevResult, Source: srcADD,
			Sentence: "If the plugin was supplied a prevResult as part of its input configuration, it MUST handle prevResult by either passing it through, or modifying it appropriately. (Keys in it that are not in the specification are no reason to fail.)"},
		{ID: "A08", Level: Should, Grade: Compat, needs: needADD | needChain | needAnIface, do: addSecond, Source: srcResult,
			Sentence: "interface (uint): the index into the interfaces list for a CNI Plugin Result indicating which interface this IP configuration should be applied to."},
		{ID: "A09", Level: Must, Grade: Compat, needs: needADD, do: parallelContainers, Source: "SPEC.md section 3, Lifecycle & Ordering",
			Sentence: "Plugins must handle being executed concurrently across different containers. If necessary, they must implement locking on shared resources (e.g. IPAM databases)."},
		{ID: "A10", Level: Robust, Grade: Compat, needs: needADD, do: parallelNetworks, Source: "go-cni, Setup adds the networks of one container at once",
			Sentence: "One container is added to several networks at the same time."},
		{ID: "A11", Level: Should, Grade: Spec, needs: needDelegate, do: undoesDelegate, Source: srcDelegate,
			Sentence: "If, on ADD, a delegated plugin fails, the \"upper\" plugin should execute again with DEL before returning failure."},
		{ID: "A12", Level: Robust, Grade: Compat, needs: needADD, do: failedADDs, Source: "SPEC.md section 3, Lifecycle & Ordering",
			Sentence: "A delete must still be executed even if the add fails. (After it, nothing is left.)"},
		{ID: "A13", Level: Library, Grade: Compat, needs: needADD | needAnIface, do: uniqueNames, Source: "go-cni keeps the interfaces of a result by name",
			Sentence: "No two interfaces of a result have the same name."},
		{ID: "A14", Level: Library, Grade: Compat, needs: needADD, do: hasAddress, Source: "containerd CRI: \"failed to find network info for sandbox\"",
			Sentence: "A result has at least one address, unless the network is layer 2 only."},
		{ID: "A15", Level: Robust, Grade: Compat, needs: needDelegate, do: dnsOfConfig, Source: "bridge and ptp of containernetworking/plugins",
			Sentence: "dns of the configuration, where it is set, beats that of the IPAM plugin."},
	}
}

func resultVersion(p *probe) {
	for _, v := range p.known() {
		if !since(v, "0.3.0") {
			continue // the key is optional there; the rest is V04
		}
		a := p.attachment(0, version(v))
		o := a.add()
		if said := a.parsed()["cniVersion"]; p.ok("ADD at "+v, o) && said != v {
			p.failf("ADD at %s: the result says %v", v, said)
			p.see(o)
		}
		a.del()
	}
}

func resultInterfaces(p *probe) {
	before := p.take()
	a := p.attachment(0)
	o := a.mustAdd()
	list := objects(a.parsed()["interfaces"])
	if p.target.Kind == KindIPAM {
		if len(list) > 0 {
			p.failf("the result of an IPAM plugin has interfaces")
			p.see(o)
		}
		return
	}
	own := 0
	listed := map[string]bool{}
	for _, i := range list {
		name, _ := i["name"].(string)
		sandbox, _ := i["sandbox"].(string)
		switch {
		case name == "":
			p.failf("an interface without a name")
		case name == a.ifname && sandbox == a.netns:
			own++
		case sandbox == "":
			listed["link "+name] = true
		case sandbox != a.netns && sandbox != a.id: // a machine's ID was right before 1.0.0
			p.failf("an interface whose sandbox is neither empty nor CNI_NETNS")
		}
	}
	if own != 1 {
		p.failf("%d interfaces with the name CNI_IFNAME and the sandbox CNI_NETNS, want 1", own)
	}
	for _, k := range p.take().more(before) {
		if strings.HasPrefix(k, "link ") && !listed[k] {
			p.failf("a link of the host was made and is not in the result")
		}
	}
	if p.status == Fail {
		p.see(o)
	}
}

func interfaceShapes(p *probe) {
	v, _ := p.atLeast("1.1.0")
	a := p.attachment(0, version(orElse(v, p.version())))
	o := a.mustAdd()
	for _, i := range objects(a.parsed()["interfaces"]) {
		if m, has := i["mac"]; has && m != "" {
			text, _ := m.(string)
			mac, err := net.ParseMAC(text)
			if err != nil || mac[0]&1 != 0 {
				p.failf("mac is not the address of one station")
			}
		}
		if m, has := i["mtu"]; has && !isUint(m) {
			p.failf("mtu is not an unsigned integer")
		}
		if s, has := i["socketPath"]; has && s != "" {
			path, _ := s.(string)
			info, err := os.Stat(path)
			if !filepath.IsAbs(path) || err != nil || info.Mode().Type() != os.ModeSocket {
				p.failf("socketPath is not the absolute path of a socket")
			}
		}
		if id, has := i["pciID"]; has {
			if _, ok := id.(string); !ok {
				p.failf("pciID is not a text")
			}
		}
	}
	if p.status == Fail {
		p.see(o)
	}
}

func isUint(v any) bool {
	f, ok := v.(float64)
	return ok && f >= 0 && f == float64(uint64(f))
}

func addressShapes(p *probe) {
	v, _ := p.atLeast("1.0.0")
	a := p.attachment(0, version(orElse(v, p.version())))
	o := a.mustAdd()
	res := a.parsed()
	_, own := a.own()
	for _, ip := range objects(res["ips"]) {
		p.addressShape(ip, len(objects(res["interfaces"])), own)
	}
	for _, r := range objects(res["routes"]) {
		dst, _ := r["dst"].(string)
		if _, err := netip.ParsePrefix(dst); err != nil {
			p.failf("a route whose dst is not in CIDR notation")
		}
		if gw, has := r["gw"]; has && !isAddr(gw) {
			p.failf("a route whose gw is not an address")
		}
	}
	dns, _ := res["dns"].(object)
	for _, key := range []string{"nameservers", "search", "options"} {
		if v, has := dns[key]; has && slices.Contains(texts(v), "") {
			p.failf("dns.%s is not a list of texts", key)
		}
	}
	for _, s := range texts(dns["nameservers"]) {
		if !isAddr(s) {
			p.failf("dns.nameservers holds what is not an address")
		}
	}
	if p.status == Fail {
		p.see(o)
	}
}

func (p *probe) addressShape(ip object, interfaces, own int) {
	address, _ := ip["address"].(string)
	prefix, err := netip.ParsePrefix(address)
	if err != nil {
		p.failf("an address that is not in CIDR notation")
		return
	}
	if gw, has := ip["gateway"]; has && gw != "" {
		text, _ := gw.(string)
		g, err := netip.ParseAddr(text)
		if err != nil || !prefix.Contains(g) && !prefix.IsSingleIP() {
			p.failf("a gateway that is not an address of its subnet")
		}
	}
	index, has := ip["interface"]
	switch {
	case p.target.Kind == KindIPAM && has:
		p.failf("an address of an IPAM plugin with an interface")
	case p.target.Kind == KindIPAM || !has:
	case !isUint(index) || int(index.(float64)) >= interfaces:
		p.failf("an address whose interface is no index into interfaces")
	case own >= 0 && interfaces > 0 && int(index.(float64)) != own && p.target.Kind == KindInterface:
		p.failf("an address whose interface is not the container's")
	}
}

func isAddr(v any) bool {
	s, _ := v.(string)
	_, err := netip.ParseAddr(s)
	return err == nil
}

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
