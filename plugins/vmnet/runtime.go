package main

import (
	"encoding/json"
	"net"
	"net/netip"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// wanted is what the caller asks for beyond the configuration. Sources in
// order of rank (CONVENTIONS.md): runtimeConfig, args.cni, CNI_ARGS; the first
// that says something about a thing decides it.
type wanted struct {
	MAC      string
	IPs      []string
	DNS      shim.DNS // of runtimeConfig; each part that is set beats the network's
	Hostname string

	Forwards  []shim.Forward
	Bandwidth shim.Bandwidth
	Aliases   []string
	Ranges    []shim.Range // of the network's subnet
	Sticky    string       // a stable name of the container; empty: none

	ranges           [][]ipRange // as they came
	macFrom, ipsFrom string      // for messages
	unbuilt          error       // the first capability that is asked for and not there
}

// parseWanted reads runtimeConfig and args for the network. Keys in
// runtimeConfig are taken in any case: containerd sends "PortMappings" entries
// as "HostPort".
func parseWanted(all *object, network string) wanted {
	var w wanted
	rc := openObject("runtimeConfig", all.raw("runtimeConfig"))
	rc.fold = true
	if rc.take("mac", &w.MAC, "a MAC address") && w.MAC != "" {
		w.macFrom = "runtimeConfig.mac"
	}
	if rc.take("ips", &w.IPs, "a list of addresses") && len(w.IPs) > 0 {
		w.ipsFrom = "runtimeConfig.ips"
	}
	w.DNS = runtimeDNS(openObject("runtimeConfig.dns", rc.raw("dns")), rc)
	w.Forwards, w.Bandwidth, w.Aliases = parsePortMappings(rc), parseBandwidth(rc), parseAliases(rc, network)
	w.ranges = parseIPRanges(rc)
	w.unbuilt = unbuiltCapability(rc)
	// Information for plugins that use it, and nothing to honour.
	for _, key := range []string{"cgroupPath", "io.kubernetes.cri.pod-annotations", "CNIDeviceInfoFile"} {
		rc.raw(key)
	}
	all.fail(rc.end())

	args := openObject("args", all.raw("args"))
	cni := openObject("args.cni", args.raw("cni"))
	var mac string
	var ips []string
	cni.take("mac", &mac, "a MAC address")
	cni.take("ips", &ips, "a list of addresses")
	w.Sticky = stickyOf(cni)
	// Everything else in args is for others (CONVENTIONS.md).
	all.fail(args.errs.err())
	all.fail(cni.errs.err())
	w.merge("args.cni.mac", mac, "args.cni.ips", ips)
	return w
}

// merge takes from a source of lower rank what is not decided yet.
func (w *wanted) merge(macFrom, mac, ipsFrom string, ips []string) {
	if w.macFrom == "" && mac != "" {
		w.MAC, w.macFrom = mac, macFrom
	}
	if w.ipsFrom == "" && len(ips) > 0 {
		w.IPs, w.ipsFrom = ips, ipsFrom
	}
}

func runtimeDNS(o *object, all *object) shim.DNS {
	var d shim.DNS
	o.fold = true
	o.take("servers", &d.Nameservers, "a list of addresses")
	o.take("searches", &d.Search, "a list of domain names")
	o.take("options", &d.Options, "a list of strings")
	o.take("domain", &d.Domain, "a domain name")
	all.fail(o.end())
	all.fail(checkDNS("runtimeConfig.dns", d, "servers", "searches"))
	return d
}

// unbuiltCapability returns an error for the first capability that asks for
// something and is not there. Empty lists and zero rates ask for nothing.
func unbuiltCapability(rc *object) error {
	var first error
	for _, c := range []struct{ key, why string }{
		{"deviceID", "devices of the host"},
		{"infinibandGUID", "InfiniBand"},
	} {
		raw := rc.raw(c.key)
		if asksForSomething(raw) && first == nil {
			first = notBuilt("runtimeConfig."+c.key, raw, c.why)
		}
	}
	return first
}

// asksForSomething is false for null, zeros, empty texts and lists, and objects
// of such.
func asksForSomething(raw json.RawMessage) bool {
	var v any
	if len(raw) == 0 || json.Unmarshal(raw, &v) != nil {
		return len(raw) > 0
	}
	return something(v)
}

func something(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		for _, e := range v {
			if something(e) {
				return true
			}
		}
	}
	return false
}

// refuseUnbuilt returns the refusal that parseWanted found; wrong values come
// first.
func (w *wanted) refuseUnbuilt() error { return w.unbuilt }

// wrong is badValue for a value that may come from CNI_ARGS: then it is the
// environment that is wrong.
func wrong(from string, value any, want string, args ...any) error {
	e := badValue(from, value, want, args...)
	if strings.HasPrefix(from, "CNI_ARGS") {
		e.Code = codeEnv
	}
	return e
}

// check checks what is wanted against the network.
func (w *wanted) check(spec shim.NetworkSpec) error {
	if w.MAC != "" {
		mac, err := net.ParseMAC(w.MAC)
		if err != nil || len(mac) != 6 || mac[0]&1 != 0 || strings.Trim(mac.String(), "0:") == "" {
			return wrong(w.macFrom, w.MAC, `the MAC of a single station, as "02:00:00:00:00:01"`)
		}
		w.MAC = mac.String()
	}
	if len(w.IPs) > 0 && spec.IPAM == shim.IPAMNone {
		return wrong(w.ipsFrom, w.IPs, "none: ipam.type none gives no addresses")
	}
	if spec.IPAM == shim.IPAMStatic {
		spec.Subnet, spec.Subnet6 = netip.Prefix{}, netip.Prefix{} // the IPAM plugin reads the wish itself, and decides
	}
	for _, s := range w.IPs {
		if err := w.checkIP(s, spec); err != nil {
			return err
		}
	}
	return nil
}

// checkIP checks one wanted address, with or without a prefix length.
func (w *wanted) checkIP(s string, spec shim.NetworkSpec) error {
	addr, err := netip.ParseAddr(s)
	p, perr := netip.ParsePrefix(s)
	if perr == nil {
		addr, err = p.Addr(), nil
	}
	addr = addr.Unmap()
	subnet, version := spec.Subnet, spec.IPv4
	if addr.Is6() {
		subnet, version = spec.Subnet6, spec.IPv6
	}
	switch {
	case err != nil || addr.Zone() != "":
		return wrong(w.ipsFrom, s, `an address, as "192.168.127.9" or "192.168.127.9/24"`)
	case version == shim.IPNone:
		return wrong(w.ipsFrom, s, "no such address: the network does not have its IP version")
	case !subnet.IsValid():
		return nil // the shim knows the subnet that it chose
	case !subnet.Contains(addr):
		return wrong(w.ipsFrom, s, "an address of subnet %s", subnet)
	case perr == nil && p.Bits() != subnet.Bits():
		return wrong(w.ipsFrom, s, "the prefix length of subnet %s", subnet)
	}
	return nil
}
