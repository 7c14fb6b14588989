package main

import (
	"encoding/json"
	"net/netip"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// parsePortMappings reads the capability portMappings. Entries have keys in any
// case: containerd sends "HostPort".
func parsePortMappings(rc *object) []shim.Forward {
	var entries []json.RawMessage
	if !rc.take("portMappings", &entries, "a list of port mappings") {
		return nil
	}
	var list []shim.Forward
	for _, raw := range entries {
		o := openObject("runtimeConfig.portMappings", raw)
		o.fold = true
		var f shim.Forward
		var host string
		o.take("hostPort", &f.HostPort, "a port from 1 to 65535")
		o.take("containerPort", &f.ContainerPort, "a port from 1 to 65535")
		o.take("protocol", &f.Protocol, "tcp or udp")
		o.take("hostIP", &host, "an address of the host")
		o.fail(checkPortMapping(&f, host))
		rc.fail(o.end())
		list = append(list, f)
	}
	return list
}

// checkPortMapping brings f into the shim's form.
func checkPortMapping(f *shim.Forward, host string) error {
	const path = "runtimeConfig.portMappings."
	var err error
	switch p := strings.ToLower(f.Protocol); p {
	case "", "tcp":
		f.Protocol = "tcp"
	case "udp":
		f.Protocol = p
	case "sctp":
		return errorf(codeUnsupported, "%sprotocol %s: no driver forwards SCTP, want tcp or udp", path, show(f.Protocol))
	default:
		return badValue(path+"protocol", f.Protocol, "tcp or udp")
	}
	if host != "" {
		if f.HostIP, err = netip.ParseAddr(host); err != nil || f.HostIP.Zone() != "" {
			return badValue(path+"hostIP", host, `an address of the host, as "127.0.0.1", or none for all`)
		}
		f.HostIP = f.HostIP.Unmap()
	}
	switch {
	case f.HostPort == 0:
		return badValue(path+"hostPort", f.HostPort, "a port from 1 to 65535")
	case f.ContainerPort == 0:
		return badValue(path+"containerPort", f.ContainerPort, "a port from 1 to 65535")
	}
	return nil
}

// parseBandwidth reads the capability bandwidth, in bits per second and bits.
func parseBandwidth(rc *object) shim.Bandwidth {
	var b shim.Bandwidth
	o := openObject("runtimeConfig.bandwidth", rc.raw("bandwidth"))
	o.fold = true
	o.take("ingressRate", &b.IngressRate, "a number of bits per second")
	o.take("ingressBurst", &b.IngressBurst, "a number of bits")
	o.take("egressRate", &b.EgressRate, "a number of bits per second")
	o.take("egressBurst", &b.EgressBurst, "a number of bits")
	rc.fail(o.end())
	return b
}

// parseAliases reads the capability aliases: a list of names, or lists by the
// name of the network, as podman sends them.
func parseAliases(rc *object, network string) []string {
	const want = "a list of names, or such lists by the name of the network"
	raw := rc.raw("aliases")
	if raw == nil {
		return nil
	}
	var list []string
	if json.Unmarshal(raw, &list) != nil {
		var byNetwork map[string][]string
		if json.Unmarshal(raw, &byNetwork) != nil {
			rc.fail(badValue("runtimeConfig.aliases", raw, want))
			return nil
		}
		list = byNetwork[network]
	}
	for _, name := range list {
		if !isLabel(name) && !isLongID(name) {
			rc.fail(badValue("runtimeConfig.aliases", name, "DNS labels: 1 to 63 letters, digits and inner hyphens"))
		}
	}
	return list
}

// isLongID reports whether s is a container ID of 64 hexadecimal digits, which
// the shim shortens.
func isLongID(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }
