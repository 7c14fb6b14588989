package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/conformance/vm"
	"github.com/vmnet-cni/vmnet/conformance/vm/vmtest"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// first6 returns the IPv6 address and gateway of a result.
func first6(t testing.TB, r *types100.Result) (addr netip.Prefix, gw netip.Addr) {
	t.Helper()
	for _, ip := range r.IPs {
		if ip.Address.IP.To4() == nil {
			ones, _ := ip.Address.Mask.Size()
			a, _ := netip.AddrFromSlice(ip.Address.IP)
			gw, _ = netip.AddrFromSlice(ip.Gateway)
			return netip.PrefixFrom(a, ones), gw
		}
	}
	t.Fatalf("result %+v, want an IPv6 address", r)
	return
}

// page6 serves a page on the host's ::1 and returns its port.
func page6(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("page of the host\n", 1000))
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

// dhcp6c builds the guest's DHCPv6 client.
func dhcp6c(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dhcp6c")
	cmd := exec.Command(require.Tool(t, "go"), "build", "-ldflags", "-s -w", "-o", path, "../vm/dhcp6c")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// What the guest does to have its address, and a check that it has it.
const (
	byDHCP = `dd if=/dev/random of=/dev/null bs=16 count=1 # the machine has no other source of chance than its own jitter
dhcp6c eth0 >/tmp/lease6
read addr dns search </tmp/lease6
echo "$addr $dns $search"
ip -6 addr add $addr/128 dev eth0`
	bySLAAC = `true`
	settled = `for i in $(seq 600); do ip -6 addr show dev eth0 scope global | grep -q inet6 && ! ip -6 addr show dev eth0 | grep -q tentative && ip -6 route | grep -q ^default && break; sleep 0.1; done
ip -6 addr show dev eth0; ip -6 route`
)

// TestLinux6 has a real guest whose address of the result comes by DHCPv6, by
// SLAAC, and without IPv4.
func TestLinux6(t *testing.T) {
	vmtest.Need(t)
	require.IPv6(t)
	client := dhcp6c(t)
	for name, c := range map[string]struct {
		keys    map[string]any
		address string
	}{
		"managed":   {map[string]any{"hostLoopback": true}, byDHCP},
		"slaac":     {map[string]any{"hostLoopback": true, "ipv6": "slaac", "subnet6": "fd5e:ed00:127::/64"}, bySLAAC},
		"IPv6 only": {map[string]any{"hostLoopback": true, "ipv4": "none"}, byDHCP},
	} {
		t.Run(name, func(t *testing.T) {
			m := netstack().machine(t, c.keys)
			p, err := m.AddPush(soon(t), "linux")
			if err != nil {
				t.Fatal(err)
			}
			cfg := vm.Config{Frame: p.File, Programs: []string{client}, NoDHCP: c.keys["ipv4"] != nil}
			linux6(t, cfg, p.Result, c.address)
			detach(t, m, "linux", nil)
		})
	}
}

// linux6 boots a guest and checks what it says.
func linux6(t *testing.T, cfg vm.Config, r *types100.Result, address string) {
	addr, gw := first6(t, r)
	host := netip.AddrPortFrom(vmnet.LastAddr(addr.Masked()), page6(t))
	talk6(t, cfg, r, address, []vm.Step{
		{Name: "gateway", Command: "ping6 -c 1 -W 30 " + gw.String()},
		{Name: "dns", Command: "nslookup -type=aaaa gateway.vm.internal " + gw.String()},
		{Name: "http", Command: fmt.Sprintf("timeout 30 wget -q -O - http://%s/ | grep -c 'page of the host'", host)},
	})
}

// talk6 boots a guest, has it get its IPv6 address, and then do what is asked.
func talk6(t *testing.T, cfg vm.Config, r *types100.Result, address string, steps []vm.Step) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	addr, _ := first6(t, r)
	var err error
	if cfg.MAC, err = net.ParseMAC(r.Interfaces[0].Mac); err != nil {
		t.Fatal(err)
	}
	var console bytes.Buffer
	cfg.MTU, cfg.Log = r.Interfaces[0].Mtu, &console
	cfg.Steps = append([]vm.Step{
		{Name: "get", Command: address},
		{Name: "settle", Command: settled},
		{Name: "address", Command: fmt.Sprintf("ip -6 addr show dev eth0 | grep 'inet6 %s/'", addr.Addr())},
		{Name: "route", Command: "ip -6 route | grep '^default via fe80:'"},
	}, steps...)
	g, err := vm.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	cfg.Frame.Close()
	for _, s := range cfg.Steps {
		if _, err := g.Await(ctx, "step "+s.Name+" ok"); err != nil {
			g.Close()
			t.Fatalf("%v\nthe console:\n%s", err, console.String())
		}
	}
	_, err = g.Await(ctx, "done")
	if err = errors.Join(err, g.Wait(ctx)); err != nil {
		t.Errorf("QEMU: %v", err)
	}
	t.Logf("the console:\n%s", console.String())
}
