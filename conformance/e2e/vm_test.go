package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/vm"
	"github.com/vmnet-cni/vmnet/conformance/vm/vmtest"
)

// TestLinux has a real guest behind a datagram fd that was pushed, and behind the
// path of a stream socket, with a small guest beside it.
func TestLinux(t *testing.T) {
	vmtest.Need(t)
	inWorlds(t, func(t *testing.T, w *world) {
		for _, kind := range []string{"dgram", "stream"} {
			t.Run(kind, func(t *testing.T) { linuxBeside(t, w, kind) })
		}
	})
}

func linuxBeside(t *testing.T, w *world, kind string) {
	m := w.machine(t, map[string]any{"frames": kind})
	cfg, result := vm.Config{}, (*types100.Result)(nil)
	if kind == "dgram" {
		p, err := m.AddPush(soon(t), "linux")
		if err != nil {
			t.Fatal(err)
		}
		defer p.File.Close()
		cfg.Frame, result = p.File, p.Result
	} else {
		r, err := m.Add(soon(t), "linux", "vm://linux")
		if err != nil {
			t.Fatal(err)
		}
		cfg.StreamPath, result = r.Interfaces[0].SocketPath, r
	}
	port, r := push(t, m, "small")
	small := newGuest(t, port, r)
	linux(t, w, cfg, result, r)
	detach(t, m, "small", small)
	detach(t, m, "linux", nil)
}

// linux boots a guest with the frames of cfg, and checks what it says.
func linux(t *testing.T, w *world, cfg vm.Config, own, other *types100.Result) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	addr, gw := first(t, own)
	neighbour, _ := first(t, other)
	page := w.page(t, addr)
	var err error
	if cfg.MAC, err = net.ParseMAC(own.Interfaces[0].Mac); err != nil {
		t.Fatal(err)
	}
	var console bytes.Buffer
	cfg.MTU, cfg.Log = own.Interfaces[0].Mtu, &console
	cfg.Steps = []vm.Step{
		{Name: "address", Command: "ip -4 addr show dev eth0; ip route; cat /etc/resolv.conf"},
		{Name: "gateway", Command: "ping -c 1 -W 30 " + gw.String()},
		{Name: "neighbour", Command: "ping -c 1 -W 30 " + neighbour.Addr().String()},
		{Name: "dns", Command: "nslookup -type=a gateway.vm.internal"},
		{Name: "http", Command: fmt.Sprintf("timeout 30 wget -q -O - http://%s/ | grep -c 'page of the host'", page)},
	}
	g, err := vm.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if cfg.Frame != nil {
		cfg.Frame.Close()
	}
	for _, want := range []struct{ what, begins string }{
		{"link", own.Interfaces[0].Mac + " " + fmt.Sprint(own.Interfaces[0].Mtu)},
		{"lease", fmt.Sprintf("address=%s router=%s dns=%s ", addr, gw, own.DNS.Nameservers[0])},
		{"step address ok", ""}, {"step gateway ok", ""}, {"step neighbour ok", ""}, {"step dns ok", ""},
		{"out http", "1000"}, {"step http ok", ""}, {"done", ""},
	} {
		got, err := g.Await(ctx, want.what)
		if err != nil {
			g.Close()
			t.Fatalf("%v\nthe console:\n%s", err, console.String())
		}
		if !strings.HasPrefix(got+" ", want.begins) {
			t.Errorf("%s %s: want it to begin with %q", want.what, got, want.begins)
		}
	}
	if err := g.Wait(ctx); err != nil {
		t.Errorf("QEMU: %v", err)
	}
	if e2e.Running(g.PID()) {
		t.Errorf("QEMU still runs")
	}
}
