package tap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Numbers of the protocols that are guarded.
const (
	typeARP    = unix.ETH_P_ARP
	typeIPv4   = unix.ETH_P_IP
	typeIPv6   = unix.ETH_P_IPV6
	protoICMP6 = unix.IPPROTO_ICMPV6
	routerSol  = 133 // ICMPv6 types (RFC 4861, section 4)
	routerAdv  = 134
	neighAdv   = 136
	redirect   = 137

	redirect4  = 5 // ICMP types (RFC 792, RFC 1256)
	routerAdv4 = 9
)

const (
	link      = expr.PayloadBaseLLHeader
	network3  = expr.PayloadBaseNetworkHeader
	transport = expr.PayloadBaseTransportHeader
)

// SetRules implements vmnet.Ruler. What comes from the guest is judged where it
// leaves the tap (hook ingress of family netdev), before the bridge sees it; what
// goes to the guest waits in a token bucket (tc-tbf(8)).
func (d *device) SetRules(_ context.Context, r vmnet.Rules) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isGone() {
		return vmnet.ErrClosed
	}
	if d.net.bridge == 0 {
		if err := d.refuseRules(r); err != nil {
			return err
		}
		if d.plugged != nil { // a macvlan: no rule of ours sees its frames
			return d.setRules(nil)
		}
	}
	// First who answers, then what is dropped: no request is lost between.
	next, err := d.newAnswers(r.Answer)
	if err != nil {
		return err
	}
	if err := errors.Join(d.setRules(guardChains(r, d.info.MAC, d.net.info)), d.shape(r.ToGuest)); err != nil {
		next.close()
		return fmt.Errorf("rules of %s: %w", d.name, err)
	}
	d.answers.close()
	d.answers = next
	return nil
}

// refuseRules refuses what a macvtap does not have. What its guest sends leaves by
// the macvtap (hook egress), where it can be judged, but not answered; what comes
// for it waits nowhere. Frames of a macvlan in a namespace pass nothing of the host's:
// that such a guest sends as itself is up to who leaves it without CAP_NET_ADMIN, but
// what was asked for beyond that is refused.
func (d *device) refuseRules(r vmnet.Rules) error {
	if d.plugged != nil && (r.FromGuest.Bits != 0 || len(r.Guard.Allow)+len(r.Guard.Deny) > 0) {
		return fmt.Errorf("rules of %s: uplink %s has addresses, so the container has a macvlan, whose frames the host does not see: want no limit, allow or deny, or an uplink without addresses: %w",
			d.name, d.net.info.Uplink, errors.ErrUnsupported)
	}
	if r.Answer == nil && r.ToGuest.Bits == 0 {
		return nil
	}
	return fmt.Errorf("rules of %s: uplink %s has addresses, so the guest is on macvtap, where the kernel neither answers DHCP nor bounds what comes: want frames dgram, or an uplink without addresses: %w",
		d.name, d.net.info.Uplink, errors.ErrUnsupported)
}

// setRules has frames of the guest go through the first of the chains.
func (d *device) setRules(list []chain) error {
	name := d.net.driver.names.table(d.name)
	if len(list) == 0 && !d.ruled {
		return nil
	}
	if len(list) == 0 {
		err := deleteFamily(nftables.TableFamilyNetdev, name)
		d.ruled = err != nil
		return err
	}
	d.ruled = true // also after an error, which may be of the answer only
	base := &list[0]
	base.kind, base.hook, base.priority, base.device = nftables.ChainTypeFilter, nftables.ChainHookIngress, nftables.ChainPriorityFilter, d.name
	if d.net.bridge == 0 {
		base.hook = nftables.ChainHookEgress
	}
	return setTable(nftables.TableFamilyNetdev, name, list)
}

// guardChains are the rules for frames of the guest with the address mac. A frame
// goes through the chain of what it is only, so that most are done soon. What comes
// to the end of the first chain is accepted.
func guardChains(r vmnet.Rules, mac net.HardwareAddr, n vmnet.NetworkInfo) (list []chain) {
	g := r.Guard
	var base, udp, icmp, icmp6 []rule
	if g.MAC {
		base = append(base, rules(at(link, 6, neq, mac), drop()))
	}
	if r.Answer != nil { // its socket has seen them already
		udp = append(udp, rules(ether(typeIPv4), dport(67), drop()), rules(ether(typeIPv6), dport(547), drop()))
		icmp6 = append(icmp6, icmp6Type(routerSol, drop()))
	}
	if g.DHCP {
		udp = append(udp, serverRules(typeIPv4, 67, 68)...)
		udp = append(udp, serverRules(typeIPv6, 547, 546)...)
	}
	if g.RA {
		icmp6 = append(icmp6, icmp6Type(routerAdv, drop()), icmp6Type(redirect, drop()))
		for _, typ := range []byte{redirect4, routerAdv4} {
			icmp = append(icmp, rules(ether(typeIPv4), at(transport, 0, eq, []byte{typ}), drop()))
		}
	}
	to := func(first rule, name string, what []rule) {
		if len(what) > 0 {
			base = append(base, rules(first, jump(name)))
			list = append(list, chain{name: name, rules: what})
		}
	}
	to(l4(unix.IPPROTO_UDP), "udp", udp)
	to(l4(unix.IPPROTO_ICMP), "icmp", icmp)
	to(l4(protoICMP6), "icmp6", icmp6)
	if g.IP {
		// What is behind a VLAN tag would not be judged.
		base = append(base, rules(ether(unix.ETH_P_8021Q), drop()), rules(ether(unix.ETH_P_8021AD), drop()))
		v4, arp, v6 := sourceRules(g, mac, n)
		to(ether(typeIPv4), "ip", v4)
		to(ether(typeARP), "arp", arp)
		to(ether(typeIPv6), "ip6", v6)
	}
	last := destinationRules(g, n)
	if rate := r.FromGuest; rate.Bits > 0 {
		last = append([]rule{limitRule(rate)}, last...)
	}
	if len(last) == 0 {
		base = append(usual(g, mac), base...)
	}
	base = append(base, last...)
	if len(base) == 0 {
		return nil
	}
	return append([]chain{{name: "from-guest", rules: base}}, list...)
}

// usual accepts what most frames are, TCP from the guest's own addresses, before
// anything else is asked: no rule but a limit or a destination is about them.
func usual(g vmnet.Guard, mac net.HardwareAddr) (list []rule) {
	if !g.MAC || !g.IP {
		return nil
	}
	for _, a := range g.Addrs {
		typ, source, proto := uint16(typeIPv4), uint32(12), uint32(9)
		if a.Is6() {
			typ, source, proto = typeIPv6, 8, 6
		}
		list = append(list, rules(ether(typ), at(network3, source, eq, a.AsSlice()), at(network3, proto, eq, []byte{unix.IPPROTO_TCP}), at(link, 6, eq, mac), accept()))
	}
	return list
}

// serverRules drop what servers of DHCP send.
func serverRules(proto, server, client uint16) []rule {
	return []rule{rules(ether(proto), sport(server), drop()), rules(ether(proto), dport(client), drop())}
}

func icmp6Type(typ byte, then rule) rule {
	return rules(ether(typeIPv6), l4(protoICMP6), at(transport, 0, eq, []byte{typ}), then)
}

// sourceRules drop, of each protocol, what has a source that is not the guest's.
func sourceRules(g vmnet.Guard, mac net.HardwareAddr, n vmnet.NetworkInfo) (ip, arp, ip6 []rule) {
	v4 := []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 32)}
	v6 := []netip.Prefix{netip.PrefixFrom(netip.IPv6Unspecified(), 128), netip.MustParsePrefix("fe80::/10")}
	v6 = append(v6, g.Free...)
	for _, a := range g.Addrs {
		if p := netip.PrefixFrom(a, a.BitLen()); a.Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	if len(v4) > 1 {
		ip = []rule{noneOf(nil, network3, 12, v4)}
		arp = []rule{
			rules(at(network3, 8, neq, mac), drop()), // sender's hardware address (RFC 826)
			noneOf(nil, network3, 14, v4),            // sender's protocol address
		}
	}
	if len(v6) == 2 {
		return ip, arp, nil
	}
	const source, target = 8, 8 // offsets in IPv6, and in neighbour discovery (RFC 4861, section 4.4)
	adv := icmp6Type(neighAdv, nil)
	ip6 = []rule{noneOf(nil, network3, source, v6), noneOf(adv, transport, target, v6)}
	for _, p := range gatewayAddrs(n) {
		ip6 = append(ip6, rules(in(network3, source, eq, p), drop()), rules(adv, in(transport, target, eq, p), drop()))
	}
	return ip, arp, ip6
}

// gatewayAddrs are the IPv6 addresses that no guest makes for itself.
func gatewayAddrs(n vmnet.NetworkInfo) []netip.Prefix {
	list := []netip.Prefix{netip.PrefixFrom(linkLocal(vmnet.GatewayMAC(n.Name)).Addr(), 128)}
	if n.Subnet6.IsValid() {
		list = append(list, netip.PrefixFrom(vmnet.FirstAddr(n.Subnet6), 128))
	}
	return list
}

// noneOf drops what first matches and has an address at the offset that is in none
// of the prefixes.
func noneOf(first rule, base expr.PayloadBase, offset uint32, of []netip.Prefix) rule {
	r := first
	for _, p := range of {
		r = rules(r, in(base, offset, neq, p))
	}
	return rules(r, drop())
}

// limitRule drops what comes faster than the rate.
func limitRule(r vmnet.Rate) rule {
	bytes := max(r.Bits/8, 1)
	return rules(rule{&expr.Limit{Type: expr.LimitTypePktBytes, Rate: bytes, Unit: expr.LimitTimeSecond,
		Burst: uint32(min(burst(r), math.MaxUint32)), Over: true}}, drop())
}

// burst is how many bytes may pass at once.
func burst(r vmnet.Rate) uint64 {
	const least = 64 << 10 // bytes: one segment with offload
	b := r.Burst / 8
	if b == 0 {
		b = r.Bits / 8 / 4
	}
	return max(b, r.Bits/8/50, least) // 20 ms, as the relay
}

// destinationRules say where the guest's packets may go: the longest prefix first,
// Deny before Allow.
func destinationRules(g vmnet.Guard, n vmnet.NetworkInfo) (list []rule) {
	for _, proto := range []struct {
		typ    uint16
		is4    bool
		always []netip.Prefix
	}{
		{typeIPv4, true, []netip.Prefix{n.Subnet, netip.MustParsePrefix("224.0.0.0/24"), netip.MustParsePrefix("255.255.255.255/32")}},
		{typeIPv6, false, []netip.Prefix{n.Subnet6, netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff02::/16")}},
	} {
		ways, strict := waysOf(g, proto.is4)
		if len(ways) == 0 {
			continue
		}
		list = append(list, detours(proto.is4)...)
		for _, p := range proto.always {
			if p.IsValid() {
				list = append(list, rules(ether(proto.typ), dst(eq, p), accept()))
			}
		}
		for _, w := range ways {
			list = append(list, rules(ether(proto.typ), dst(eq, w.to), w.verdict()))
		}
		if strict {
			list = append(list, rules(ether(proto.typ), drop()))
		}
	}
	return list
}

// detours drop packets that carry a route of their own, and IPv6 packets to
// IPv4-mapped addresses: their destination is not where they go.
func detours(is4 bool) (list []rule) {
	if is4 {
		for _, option := range []uint8{0x83, 0x89} { // loose and strict source route (RFC 791, section 3.1)
			list = append(list, rules(ether(typeIPv4), option4(option), drop()))
		}
		return list
	}
	return []rule{
		rules(ether(typeIPv6), hasHeader(unix.IPPROTO_ROUTING), drop()),
		rules(ether(typeIPv6), dst(eq, netip.MustParsePrefix("::ffff:0:0/96")), drop()),
	}
}

// hasHeader matches an extension header of IPv6: exthdr … exists.
func hasHeader(typ uint8) rule {
	return rule{
		&expr.Exthdr{DestRegister: 1, Type: typ, Len: 1, Flags: unix.NFT_EXTHDR_F_PRESENT, Op: expr.ExthdrOpIpv6},
		&expr.Cmp{Op: eq, Register: 1, Data: []byte{1}},
	}
}

// option4 matches an option of IPv4: ip option … exists.
func option4(typ uint8) rule {
	const opIPv4 = 2 // NFT_EXTHDR_OP_IPV4 (linux/netfilter/nf_tables.h)
	return rule{
		&expr.Exthdr{DestRegister: 1, Type: typ, Len: 1, Flags: unix.NFT_EXTHDR_F_PRESENT, Op: opIPv4},
		&expr.Cmp{Op: eq, Register: 1, Data: []byte{1}},
	}
}

// A way is one prefix of Guard.Allow or Deny.
type way struct {
	to   netip.Prefix
	deny bool
}

func (w way) verdict() rule {
	if w.deny {
		return drop()
	}
	return accept()
}

// waysOf returns the ways of an IP version in the order in which they are tried,
// and whether what they do not name is dropped.
func waysOf(g vmnet.Guard, is4 bool) (ways []way, strict bool) {
	for _, p := range g.Deny {
		if p.Addr().Is4() == is4 {
			ways = append(ways, way{p.Masked(), true})
		}
	}
	for _, p := range g.Allow {
		if p.Addr().Is4() == is4 {
			ways, strict = append(ways, way{p.Masked(), false}), true
		}
	}
	slices.SortStableFunc(ways, func(a, b way) int { return cmp.Compare(b.to.Bits(), a.to.Bits()) })
	return ways, strict
}

// shape bounds what goes to the guest. The caller holds mu.
func (d *device) shape(r vmnet.Rate) error {
	if r.Bits == 0 && !d.shaped {
		return nil
	}
	l, err := d.net.link(d.name)
	if err != nil {
		return err
	}
	q := &netlink.Tbf{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)}}
	if r.Bits == 0 {
		d.shaped = false
		return opErr("remove limit of", d.name, netlink.QdiscDel(q))
	}
	bytes := max(r.Bits/8, 1)
	q.Rate = bytes
	// The depth in ticks of the scheduler's clock, as tc does it (tc_core.c).
	q.Buffer = uint32(min(float64(burst(r))/float64(bytes)*netlink.TickInUsec()*1e6, math.MaxUint32))
	q.Limit = uint32(min(burst(r)+max(bytes/10, 64<<10), math.MaxUint32)) // and 100 ms that wait
	d.shaped = true
	return opErr("limit", d.name, netlink.QdiscReplace(q))
}

// endRules ends what SetRules made. The caller holds mu.
func (d *device) endRules() error {
	d.answers.close()
	d.answers = nil
	return d.setRules(nil) // the queueing discipline goes with the link
}
