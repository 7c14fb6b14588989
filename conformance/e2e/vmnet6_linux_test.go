package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
	"github.com/vmnet-cni/vmnet/conformance/vm"
	"github.com/vmnet-cni/vmnet/conformance/vm/vmtest"
	"github.com/vmnet-cni/vmnet/internal/require"
)

// The IPv6 side of a Mac and of the world outside, which a block kept for
// documentation is (RFC 3849).
const (
	macSubnet6   = "fd5e:ed00:222::/64"
	outsideAddr6 = "2001:db8::1"
)

// arrangeMac6 gives a Mac IPv6, its NAT66 included. $1 is the address of its end of
// the network, $2 the interface of that.
const arrangeMac6 = `
echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6
for i in tap0 up0; do echo 0 >/proc/sys/net/ipv6/conf/$i/disable_ipv6; done
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
ip -6 addr add "$1"/64 dev tap0 nodad
ip -6 addr add 2001:db8::2/64 dev up0 nodad
nft add table ip6 nat
nft 'add chain ip6 nat post { type nat hook postrouting priority srcnat; }'
nft add rule ip6 nat post oifname up0 masquerade`

// framework6 is the world of driver vmnet on a Mac with that release and with IPv6,
// whose end of the network has the address, and a page outside.
func framework6(t *testing.T, release int, address string) (w *world, page netip.AddrPort) {
	t.Helper()
	mac, outside := newMac(t)
	mac.script(t, arrangeMac6, address)
	outside.script(t, "echo 0 >/proc/sys/net/ipv6/conf/out0/disable_ipv6; ip -6 addr add "+outsideAddr6+"/64 dev out0 nodad")
	var l net.Listener
	err := outside.do(func() (err error) { l, err = net.Listen("tcp", "[::]:0"); return err })
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("page of the host\n", 1000))
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	lib := libvmnet.Build(t, libvmnet.Config{Release: release})
	w = &world{
		name: releaseName(release), do: mac.do, floods: true,
		keys: map[string]any{"driver": "vmnet", "subnet": macSubnet, "subnet6": macSubnet6},
		env:  []string{libvmnet.PathEnv + "=" + lib.Path, "LIBVMNET_TAP=tap0"},
	}
	return w, netip.AddrPortFrom(netip.MustParseAddr(outsideAddr6), portOf(l))
}

// TestLinux6Framework has a real guest on driver vmnet with both IP versions: its
// IPv6 address is that of the result, and its router the host's end, whatever
// address that has.
func TestLinux6Framework(t *testing.T) {
	vmtest.Need(t)
	require.IPv6(t)
	require.NetNS(t)
	client := dhcp6c(t)
	for _, c := range []struct {
		release                int
		ipv6, address, gateway string
	}{
		{260000, "managed", byDHCP, "fd5e:ed00:222::1"},
		{150000, "slaac", bySLAAC, "fd5e:ed00:222::be:1"},
	} {
		t.Run(releaseName(c.release)+"-"+c.ipv6, func(t *testing.T) {
			w, page := framework6(t, c.release, c.gateway)
			m := w.machine(t, map[string]any{"ipv6": c.ipv6})
			other, err := m.AddPush(soon(t), "small")
			if err != nil {
				t.Fatal(err)
			}
			defer other.File.Close()
			p, err := m.AddPush(soon(t), "linux")
			if err != nil {
				t.Fatal(err)
			}
			neighbour, _ := first6(t, other.Result)
			if _, gw := first6(t, p.Result); gw.String() != c.gateway {
				t.Errorf("gateway %s, want %s", gw, c.gateway)
			}
			v4, _ := first(t, other.Result)
			page4 := netip.AddrPortFrom(netip.MustParseAddr(outsideAddr), page.Port())
			get := "timeout 30 wget -q -O - http://%s/ | grep -c 'page of the host' | grep 1000"
			talk6(t, vm.Config{Frame: p.File, Programs: []string{client}}, p.Result, c.address, []vm.Step{
				{Name: "gateway", Command: "ping6 -c 1 -W 30 " + c.gateway + " && ping -c 1 -W 30 " + macGateway},
				{Name: "names", Command: fmt.Sprintf("nslookup small && nslookup -type=aaaa small.vm.internal | grep %s && nslookup -type=a small.vm.internal | grep %s", neighbour.Addr(), v4.Addr())},
				{Name: "reverse", Command: fmt.Sprintf("nslookup %s | grep small.vm.internal", neighbour.Addr())},
				{Name: "http6", Command: fmt.Sprintf(get, page)},
				{Name: "http4", Command: fmt.Sprintf(get, page4)},
			})
			detach(t, m, "linux", nil)
			detach(t, m, "small", nil)
		})
	}
}
