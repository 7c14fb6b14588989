package dhcp_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/dhcp"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// clientTool needs a DHCP client: in PATH, where systems have it, or unpacked.
func clientTool(t *testing.T, name string) string {
	t.Helper()
	base := require.Unpacked(t, "clients")
	path := os.Getenv("PATH") + ":/sbin:/usr/sbin:/lib/systemd"
	for _, dir := range []string{"sbin", "usr/sbin", "lib/systemd", "usr/lib/systemd"} {
		path += ":" + filepath.Join(base, dir)
	}
	t.Setenv("PATH", path)
	tool := require.Tool(t, name)
	if strings.HasPrefix(tool, base+"/") { // with the libraries that were unpacked beside it
		var dirs []string
		for _, pattern := range []string{"lib/*-linux-gnu", "usr/lib/*-linux-gnu", "usr/lib/*-linux-gnu/systemd"} {
			found, err := filepath.Glob(filepath.Join(base, pattern))
			if err != nil {
				t.Fatal(err)
			}
			dirs = append(dirs, found...)
		}
		t.Setenv("LD_LIBRARY_PATH", strings.Join(dirs, ":"))
	}
	return tool
}

// dual are the responders for a guest with both IP versions.
func dual(t *testing.T, slaac bool) (*dhcp.Responder, *dhcp.ResponderV6, []relay.Stage) {
	t.Helper()
	cfg := fullConfig6()
	cfg.SLAAC = slaac
	if slaac {
		cfg.Addr = netip.PrefixFrom(dhcp.EUI64(cfg.Addr.Masked(), guestMAC), 64)
	}
	r4, r6 := newResponder(t, fullConfig()), newResponder6(t, cfg)
	return r4, r6, []relay.Stage{r4, r6}
}

// quickLinks has addresses usable at once: nobody else is on the link.
func quickLinks() error {
	return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)
}

// watched is a script that starts the client given by its arguments and writes the
// addresses of the tap down as they come.
const watched = `#!/bin/sh
"$@" &
while sleep 0.1; do busybox ip -o addr show dev tap0 | busybox awk '{printf "%s ", $4} END {print ""}' >>"$OUT.new" && busybox mv "$OUT.new" "$OUT"; done
`

// TestIntegrationDhclient6 lets ISC's client get an IPv6 address.
func TestIntegrationDhclient6(t *testing.T) {
	require.NetNS(t)
	require.Tool(t, "busybox")
	dhclient := clientTool(t, "dhclient")
	_, r6, stages := dual(t, false)
	// As Debian's script, it waits for the link-local address, from which is asked.
	const report = `#!/bin/sh
[ "$reason" != PREINIT6 ] || for i in $(seq 100); do busybox ip addr show dev tap0 | grep -q 'inet6 fe80' && break; sleep 0.1; done
echo "event=$reason ip=$new_ip6_address dns=$new_dhcp6_name_servers search=$new_dhcp6_domain_search" >>"$OUT"
`
	_, out := startClientOn(t, stages, quickLinks, report, func(path string) []string {
		dir := filepath.Dir(path)
		conf := filepath.Join(dir, "conf")
		if err := os.WriteFile(conf, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{dhclient, "-6", "-d", "-e", "OUT=" + filepath.Join(dir, "out"), "-sf", path, "-cf", conf, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "tap0"}
	})
	waitFor(t, out, "event=BOUND6 ip="+leased6.String(), "dns=fd00:127::1 2606:4700::1111", "search=vm.internal. example.org.")
	if s := r6.Stats(); s.Solicits == 0 || s.Malformed != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestIntegrationDhcpcd6 lets dhcpcd get both addresses: it asks by DHCPv6 when it
// is advertised that it must, and identifies itself by a DUID.
func TestIntegrationDhcpcd6(t *testing.T) {
	require.NetNS(t)
	require.Tool(t, "busybox")
	dhcpcd := clientTool(t, "dhcpcd")
	_, _, stages := dual(t, false)
	_, out := startClientOn(t, stages, quickLinks, watched, func(path string) []string {
		conf := filepath.Join(filepath.Dir(path), "dhcpcd.conf")
		if err := os.WriteFile(conf, []byte("noarp\nduid\nslaac hwaddr\nscript \"\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{path, dhcpcd, "-B", "-d", "-f", conf, "tap0"}
	})
	waitFor(t, out, "192.168.127.2/24", leased6.String()+"/128")
}

// TestIntegrationNetworkd lets systemd-networkd get both addresses, the IPv6 one by
// DHCPv6 and by SLAAC. Its identifiers are a DUID made from the machine's ID.
func TestIntegrationNetworkd(t *testing.T) {
	require.NetNS(t)
	require.Tool(t, "busybox")
	networkd := clientTool(t, "systemd-networkd")
	for _, slaac := range []bool{false, true} {
		t.Run(fmt.Sprintf("slaac=%t", slaac), func(t *testing.T) {
			r4, r6, stages := dual(t, slaac)
			_, out := startClientOn(t, stages, arrangeNetworkd, watched, func(path string) []string {
				return []string{path, networkd}
			})
			want := leased6.String() + "/128"
			if slaac {
				want = dhcp.EUI64(netip.PrefixFrom(leased6, 64), guestMAC).String() + "/64"
			}
			waitFor(t, out, "192.168.127.2/24", want)
			if s := r4.Stats(); s.Malformed != 0 || s.Naks != 0 {
				t.Errorf("stats %+v", s)
			}
			if s := r6.Stats(); s.Malformed != 0 || s.RouterSolicits == 0 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// arrangeNetworkd makes, in the thread's namespaces, what networkd wants: links of
// the namespace in a /sys that is read-only, which says that there is no udev, and
// its configuration, user and machine ID in an /etc of its own.
func arrangeNetworkd() error {
	const script = `set -e
mkdir -p /run/etc /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
cp -a /etc/. /run/etc/ 2>/dev/null || true
rm -rf /run/etc/systemd/network
mkdir -p /run/etc/systemd/network
printf '[Match]\nName=tap0\n[Link]\nRequiredForOnline=no\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\nIPv6PrivacyExtensions=no\n' >/run/etc/systemd/network/10-tap0.network
rm -f /run/etc/machine-id
echo 0123456789abcdef0123456789abcdef >/run/etc/machine-id
grep -q ^systemd-network: /run/etc/passwd || echo 'systemd-network:x:998:998::/:/usr/sbin/nologin' >>/run/etc/passwd
grep -q ^systemd-network: /run/etc/group || echo 'systemd-network:x:998:' >>/run/etc/group
chown -R systemd-network:systemd-network /run/systemd/netif 2>/dev/null || chown -R 998:998 /run/systemd/netif
mount --bind /run/etc /etc
mount -t sysfs -o ro sysfs /sys`
	if err := quickLinks(); err != nil {
		return err
	}
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
