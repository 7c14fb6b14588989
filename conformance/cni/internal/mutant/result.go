package mutant

import (
	"net/netip"
	"reflect"
	"strings"
	"time"
)

// result makes the result of ADD, in the shape of the configuration's version.
func (c *call) result(r record, ipam ipamResult) map[string]any {
	prev := c.conf.PrevResult
	if prev == nil || fault("A06") {
		prev = map[string]any{}
	}
	ifs, _ := prev["interfaces"].([]any)
	index := len(ifs)
	if fault("A08") {
		index = 0
	}
	own, host := c.interfaces(r)
	ifs = append(ifs, own, host)
	if fault("A02-two") {
		ifs = append(ifs, own)
	}
	ips, _ := prev["ips"].([]any)
	ips = append(ips, c.ips(r, ipam, index)...)
	routes, _ := prev["routes"].([]any)
	for _, x := range ipam.Routes {
		routes = append(routes, x)
	}
	res := map[string]any{"cniVersion": c.version, "interfaces": ifs, "dns": c.dns(ipam.DNS)}
	if fault("A01") {
		res["cniVersion"] = newest
	}
	if len(ips) > 0 {
		res["ips"] = ips
	}
	if len(routes) > 0 {
		res["routes"] = routes
	}
	return res
}

func (c *call) interfaces(r record) (own, host map[string]any) {
	own = map[string]any{"name": r.IfName, "mac": r.MAC, "sandbox": r.NetNS}
	host = map[string]any{"name": "h" + c.key()}
	if c.version == "1.1.0" {
		own["mtu"], own["socketPath"] = r.MTU, r.Socket
	}
	switch {
	case fault("A02"):
		delete(own, "sandbox")
	case fault("A03"):
		own["socketPath"] = strings.TrimPrefix(r.Socket, "/")
	case fault("A03-mac"):
		own["mac"] = "03:00:00:00:00:01"
	case fault("A03-mtu"):
		own["mtu"] = -1
	case fault("A13"):
		host["name"] = r.IfName
	case fault("V06-mtu"):
		own["mtu"] = r.MTU
	}
	return own, host
}

func (c *call) ips(r record, ipam ipamResult, index int) []any {
	gateway := c.conf.Subnet.Masked().Addr().Next().String()
	switch {
	case fault("A04"):
		index = 9
	case fault("A04-gateway"):
		gateway = "192.0.2.1"
	case fault("A14"):
		return nil
	}
	var all []any
	for _, ip := range ipam.IPs {
		if !fault("J05") {
			ip["interface"] = index
		}
		all = append(all, ip)
	}
	if r.IP.IsValid() {
		ip := map[string]any{"address": netip.PrefixFrom(r.IP, c.conf.Subnet.Bits()).String(), "gateway": gateway, "interface": index}
		if c.version < "1.0.0" && !fault("V06") {
			ip["version"] = "4"
		}
		all = append(all, ip)
	}
	return all
}

// dns is the runtime's, else the configuration's, else the IPAM plugin's, with
// that of prevResult behind.
func (c *call) dns(ipam dns) dns {
	d := c.conf.DNS
	if ipam.Nameservers != nil && (d.Nameservers == nil || fault("A15")) {
		d.Nameservers = ipam.Nameservers
	}
	if ipam.Search != nil && d.Search == nil {
		d.Search = ipam.Search
	}
	if rc := c.conf.RuntimeConfig.DNS; rc.Servers != nil {
		d.Nameservers, d.Search, d.Options = rc.Servers, rc.Searches, rc.Options
	}
	if fault("I10") {
		d.Search, d.Domain = nil, ""
	}
	if prev, ok := c.conf.PrevResult["dns"].(map[string]any); ok && !fault("A06") {
		servers, _ := prev["nameservers"].([]any)
		for _, s := range servers {
			if text, ok := s.(string); ok {
				d.Nameservers = append(d.Nameservers, text)
			}
		}
	}
	return d
}

func check(c *call) (any, error) {
	prev := c.conf.PrevResult
	switch {
	case len(prev) == 0 && fault("C02"):
		return nil, nil
	case len(prev) == 0:
		return nil, failf(7, "prevResult is missing")
	case fault("C08"):
		c.litter("check")
	}
	r, ok := c.read()
	switch {
	case !ok && (fault("C07") || fault("C05-reservation")):
		return nil, nil
	case !ok:
		return nil, failf(3, "%s/%s is unknown", c.id, c.ifname)
	case r.Lost && !fault("C05-forward"):
		return nil, failf(104, "a port is not forwarded any more")
	case fault("C01") && time.Since(r.At) < time.Minute:
		return nil, failf(11, "not yet")
	case fault("J10") && c.top["ipam"] == nil:
		return nil, failf(7, "ipam is missing")
	}
	if err := c.compare(prev, r); err != nil {
		return nil, err
	}
	if c.delegates() == "" || fault("C06") || fault("J07-check") {
		return nil, nil
	}
	_, err := c.delegate("CHECK")
	if fault("C06-ignore") {
		err = nil
	}
	return nil, err
}

// compare looks for what differs between the result and the record.
func (c *call) compare(prev map[string]any, r record) error {
	var own map[string]any
	for _, i := range list(prev, "interfaces") {
		if i["name"] == c.ifname && i["sandbox"] == c.netns {
			own = i
		}
	}
	mtu, hasMTU := own["mtu"].(float64)
	switch {
	case own == nil && !fault("C03-name"):
		return failf(104, "prevResult has no such interface")
	case own != nil && own["mac"] != r.MAC && !fault("C03"):
		return failf(104, "mac differs")
	case hasMTU && int(mtu) != r.MTU && !fault("C03-mtu"):
		return failf(104, "mtu differs")
	case !r.hasAddress(c, prev) && !fault("C03-address"):
		return failf(104, "address differs")
	case fault("C04") && len(list(prev, "interfaces")) != 2:
		return failf(104, "the result is not mine")
	}
	if sock, _ := own["socketPath"].(string); sock != "" && !fault("C03-socket") {
		if !exists(sock) {
			return failf(104, "the socket is gone")
		}
	}
	return nil
}

func (r record) hasAddress(c *call, prev map[string]any) bool {
	if !r.IP.IsValid() {
		return true
	}
	want := netip.PrefixFrom(r.IP, c.conf.Subnet.Bits()).String()
	for _, ip := range list(prev, "ips") {
		if reflect.DeepEqual(ip["address"], want) {
			return true
		}
	}
	return false
}
