package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// An ipRange is one entry of the capability ipRanges (CONVENTIONS.md). What it
// leaves out is zero.
type ipRange struct {
	Subnet         netip.Prefix
	Start, End, GW netip.Addr

	raw json.RawMessage
}

// parseIPRanges reads the capability ipRanges: a list of sets, of which a guest
// gets one address each, and a set is a list of ranges. Keys in any case.
func parseIPRanges(rc *object) (sets [][]ipRange) {
	const path = "runtimeConfig.ipRanges"
	var lists [][]json.RawMessage
	if !rc.take("ipRanges", &lists, `a list of lists of ranges, as [[{"subnet": "192.168.127.0/24", "rangeStart": "192.168.127.64"}]]`) {
		return nil
	}
	for _, list := range lists {
		var set []ipRange
		for _, raw := range list {
			r := ipRange{raw: raw}
			o := openObject(path, raw)
			o.fold = true
			r.Subnet = takeText(o, "subnet", netip.ParsePrefix, `a subnet, as "192.168.127.0/24"`)
			r.Start = takeText(o, "rangeStart", parseAddr, `an address, as "192.168.127.64"`)
			r.End = takeText(o, "rangeEnd", parseAddr, `an address, as "192.168.127.95"`)
			r.GW = takeText(o, "gateway", parseAddr, `an address, as "192.168.127.1"`)
			rc.fail(o.end())
			set = append(set, r)
		}
		if len(set) > 0 {
			sets = append(sets, set)
		}
	}
	return sets
}

// takeText takes a text that parse understands. An empty one is nothing:
// containerd writes those that are not set.
func takeText[T any](o *object, key string, parse func(string) (T, error), want string) (v T) {
	var text string
	if !o.take(key, &text, want) || text == "" {
		return v
	}
	v, err := parse(text)
	if err != nil {
		o.fail(badValue(o.path+key, text, "%s", want))
	}
	return v
}

// parseAddr is netip.ParseAddr for addresses of a network, which have no zone.
func parseAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err == nil && a.Zone() != "" {
		err = errors.New("a zone")
	}
	return a, err
}

// checkRanges fits the wanted ranges into the network. They name its subnet, and
// may name its gateway, where the configuration leaves them open. An IPAM plugin
// reads them itself.
func (c *config) checkRanges() error {
	sets := c.wanted.ranges
	if len(sets) == 0 || c.Delegate != "" {
		return nil
	}
	const path = "runtimeConfig.ipRanges"
	switch {
	case c.Spec.IPAM == shim.IPAMNone:
		return badValue(path, sets[0][0].raw, "none: ipam.type none gives no addresses")
	case c.Spec.Mode == vmnet.Bridged:
		return badValue(path, sets[0][0].raw, "none: in mode bridged the uplink's network gives the addresses")
	}
	var before [2]bool // lists of each IP version
	for _, set := range sets {
		v := 0
		for i, r := range set {
			if r.is6() {
				v = 1
			}
			if r.is6() != set[0].is6() {
				return badValue(path, r.raw, "ranges of one IP version in a list")
			}
			if i == 0 && before[v] {
				return notBuilt(path, r.raw, "guests get one address of each IP version; want one list of each")
			}
			if err := c.checkRange(path, r); err != nil {
				return err
			}
		}
		before[v] = true
	}
	return nil
}

// is6 reports whether the range is of IPv6.
func (r ipRange) is6() bool {
	for _, a := range []netip.Addr{r.Subnet.Addr(), r.Start, r.End, r.GW} {
		if a.IsValid() {
			return a.Is6()
		}
	}
	return false
}

// checkRange fits one range into the network and adds it to the request.
func (c *config) checkRange(path string, r ipRange) error {
	s := &c.Spec
	refuse := func(want string, args ...any) error {
		return badValue(path, r.raw, "%s", fmt.Sprintf(want, args...))
	}
	subnet, version, want := &s.Subnet, s.IPv4, wantSubnet
	if r.is6() {
		subnet, version, want = &s.Subnet6, s.IPv6, wantSubnet6
	}
	switch {
	case version == shim.IPNone:
		return refuse("no such range: the network does not have its IP version")
	case version == shim.IPSLAAC:
		return refuse("no such range: ipv6 is %s", version)
	case !r.Subnet.IsValid() && !subnet.IsValid():
		return refuse("a subnet: the network names none")
	case !r.Subnet.IsValid():
		r.Subnet = *subnet
	case subnet.IsValid() && r.Subnet != *subnet:
		return refuse("subnet %s: a network has one", *subnet)
	}
	if want := want(r.Subnet); want != "" {
		return refuse("subnet: %s", want)
	}
	*subnet = r.Subnet
	if err := c.rangeGateway(r, refuse); err != nil {
		return err
	}
	first, last := vmnet.FirstAddr(r.Subnet), vmnet.LastAddr(r.Subnet)
	if !r.Start.IsValid() {
		r.Start = first
	}
	if !r.End.IsValid() {
		r.End = last
	}
	if r.Start.Less(first) || last.Less(r.End) || r.End.Less(r.Start) || r.Start.Is4() != r.End.Is4() {
		return refuse("rangeStart and rangeEnd from %s to %s, the lower one first", first, last)
	}
	for _, x := range c.wanted.Ranges {
		if !r.End.Less(x.First) && !x.Last.Less(r.Start) {
			return refuse("no overlap with %s-%s", x.First, x.Last)
		}
	}
	c.wanted.Ranges = append(c.wanted.Ranges, shim.Range{First: r.Start, Last: r.End})
	return nil
}

// rangeGateway fits the gateway of a range into the network.
func (c *config) rangeGateway(r ipRange, refuse func(string, ...any) error) error {
	s, first, last := &c.Spec, vmnet.FirstAddr(r.Subnet), vmnet.LastAddr(r.Subnet)
	switch {
	case !r.GW.IsValid():
	case r.GW.Less(first) || last.Less(r.GW):
		return refuse("gateway: an address of subnet %s: %s to %s", r.Subnet, first, last)
	case r.GW.Is6() && r.GW != first:
		return refuse("gateway %s: of IPv6 it is the first address", first)
	case r.GW.Is6():
	case s.Gateway.IsValid() && r.GW != s.Gateway:
		return refuse("gateway %s: a network has one", s.Gateway)
	default:
		s.Gateway = r.GW
	}
	return nil
}
