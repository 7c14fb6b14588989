package tap

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

const eq, neq = expr.CmpOpEq, expr.CmpOpNeq

// subnets are those of the network.
func (n *network) subnets() (list []netip.Prefix) {
	for _, p := range []netip.Prefix{n.info.Subnet, n.info.Subnet6} {
		if p.IsValid() {
			list = append(list, p)
		}
	}
	return list
}

// setFirewall makes the network's table: what is forwarded, and what the outside
// sees as the source.
func (n *network) setFirewall() error {
	br := n.bridgeName
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	v4 := family(loopback.Addr())
	guard := []rule{
		// With route_localnet a guest could reach what listens on the host's loopback
		// only (CVE-2020-8558).
		rules(iif(eq, br), v4, dst(eq, loopback), drop()),
	}
	for _, p := range n.subnets() {
		// Guests among each other need no tracking; with br_netfilter they had it.
		gw := netip.PrefixFrom(n.gatewayOf(p), p.Addr().BitLen())
		guard = append(guard, rules(iif(eq, br), family(p.Addr()), src(eq, p), dst(eq, p), dst(neq, gw), rule{&expr.Notrack{}}))
	}
	var forward []rule
	if !n.info.Isolated { // else a guest would reach another by way of the gateway
		forward = append(forward, rules(iif(eq, br), oif(eq, br), accept())) // bridged, with br_netfilter; or to itself
	}
	forward = append(forward,
		rules(oif(eq, br), established(), accept()),
		rules(oif(eq, br), translated(), accept()),
		rules(oif(eq, br), drop()),
	)
	var nat []rule
	for _, p := range n.subnets() {
		fam := family(p.Addr())
		if n.info.Mode == vmnet.Shared {
			forward = append(forward, rules(iif(eq, br), fam, src(eq, p), accept()))
			nat = append(nat, rules(oif(neq, br), fam, src(eq, p), dst(neq, p), masquerade()))
		} else {
			forward = append(forward, rules(iif(eq, br), established(), accept()))
		}
		// A guest that is forwarded to one of its own network, or to itself, must get
		// the answer from the host, which it asked.
		nat = append(nat, rules(oif(eq, br), fam, src(eq, p), translated(), masquerade()))
	}
	forward = append(forward, rules(iif(eq, br), drop()))
	nat = append(nat, rules(oif(eq, br), v4, src(eq, loopback), masquerade()))
	return setTable(nftables.TableFamilyINet, n.driver.names.table(br), []chain{
		{"prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw, "", guard},
		{"forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter, "", forward},
		{"postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, "", nat},
	})
}

// gatewayOf is the gateway's address in one of the network's subnets.
func (n *network) gatewayOf(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		return n.info.Gateway
	}
	return vmnet.FirstAddr(p)
}

func masquerade() rule { return rule{&expr.Masq{}} }

// startForwarding sees to it that the system forwards packets.
func (n *network) startForwarding() error {
	if n.info.Mode != vmnet.Shared {
		return nil
	}
	var err error
	if n.info.Subnet.IsValid() {
		err = n.switchOn("/proc/sys/net/ipv4/ip_forward", nil)
	}
	if n.info.Subnet6.IsValid() {
		err = errors.Join(err, n.switchOn("/proc/sys/net/ipv6/conf/all/forwarding", keepRouterAdverts))
	}
	n.warnOfFirewalls()
	return err
}

// switchOn writes 1 to a setting that has 0, and leaves it so: others may come to
// rely on it. before is called before that.
func (n *network) switchOn(path string, before func() error) error {
	value, err := os.ReadFile(path)
	if err != nil {
		return opErr("read", path, err)
	}
	if strings.TrimSpace(string(value)) != "0" {
		return nil
	}
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(path, []byte("1"), 0o644); err != nil {
		return fmt.Errorf("%w (set it yourself: a shared network needs 1)", opErr("write 1 to", path, err))
	}
	n.driver.cfg.Log("network %s: %s was 0 and is 1 from now on", n.info.Name, path)
	return nil
}

// keepRouterAdverts lets interfaces that take router advertisements take them
// still when the host forwards: 1 would mean "unless forwarding"
// (Documentation/networking/ip-sysctl.rst, accept_ra).
func keepRouterAdverts() error {
	paths, err := filepath.Glob("/proc/sys/net/ipv6/conf/*/accept_ra")
	for _, path := range paths {
		name := filepath.Base(filepath.Dir(path))
		value, rerr := os.ReadFile(path)
		if rerr != nil || name == "all" || strings.TrimSpace(string(value)) != "1" {
			continue // gone meanwhile, or told otherwise by its administrator
		}
		err = errors.Join(err, opErr("write 2 to", path, os.WriteFile(path, []byte("2"), 0o644)))
	}
	return err
}

// warnOfFirewalls names the chains of others that drop what is forwarded unless a
// rule of theirs accepts it: a table cannot accept for another.
func (n *network) warnOfFirewalls() {
	c, err := nftables.New()
	if err != nil {
		return
	}
	chains, err := c.ListChains()
	if err != nil {
		return
	}
	for _, ch := range chains {
		if _, ours := n.driver.names.tableOf(ch.Table.Name); ours || ch.Hooknum == nil || ch.Policy == nil ||
			*ch.Hooknum != *nftables.ChainHookForward || *ch.Policy != nftables.ChainPolicyDrop || ch.Table.Family == nftables.TableFamilyBridge {
			continue
		}
		n.driver.cfg.Log("network %s: chain %s of table %s drops what is forwarded: accept %s there too, or guests do not reach the outside (docs/linux.md)",
			n.info.Name, ch.Name, ch.Table.Name, n.bridgeName)
	}
}
