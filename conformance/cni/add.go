package cni

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
