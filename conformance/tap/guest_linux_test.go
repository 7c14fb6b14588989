package tap_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/vm"
	"github.com/vmnet-cni/vmnet/conformance/vm/vmtest"
)

// TestGuests has a Linux guest that has the tap itself, with a header before each
// frame: its lease comes from the shim, and it reaches the gateway, the outside,
// another guest and names.
func TestGuests(t *testing.T) {
	vmtest.Need(t)
	m := machine(t, map[string]any{"frames": "tap", "offload": true})
	do := outside(t, "up0", "198.51.100.1/24", "198.51.100.2/24")
	serve(t, do, "198.51.100.2:80")
	before := traces(t)
	_, other := push(t, m, "other", "")
	addr := other.Result.IPs[0].Address.IP.String()
	g, err := m.AddPush(soon(t), "one")
	if err != nil {
		t.Fatal(err)
	}
	defer g.File.Close()
	v := boot(t, g, []vm.Step{
		{Name: "gateway", Command: patient("ping -c 1 -W 5 " + g.Result.IPs[0].Gateway.String())},
		{Name: "neighbour", Command: patient("ping -c 1 -W 5 " + addr)},
		{Name: "dns", Command: patient("nslookup -type=a other.vm.internal")},
		{Name: "outside", Command: "timeout 30 wget -q -O - http://198.51.100.2/ | grep 'hello 198.51.100.1:'"},
		{Name: "spoof", Command: "ifconfig eth0:1 " + spoofed(addr) + "; ! ping -c 1 -W 2 -I " + spoofed(addr) + " " + addr},
	})
	defer v.Close()
	if got := await(t, v, "lease"); !strings.HasPrefix(got, "address="+g.Result.IPs[0].Address.String()+" ") {
		t.Errorf("lease %s, want %s", got, g.Result.IPs[0].Address.String())
	}
	for _, step := range []string{"gateway", "neighbour", "dns", "outside", "spoof"} {
		await(t, v, "step "+step+" ok")
	}
	await(t, v, "done")
	if err := m.Check(soon(t), "one", g.NetNS); err != nil {
		t.Error(err)
	}
	v.Close()
	for _, id := range []string{"one", "other"} {
		if err := m.Del(soon(t), id, "vm://"+id); err != nil {
			t.Error(err)
		}
	}
	g.File.Close()
	same(t, before) // its tap has gone, though the other guest has its descriptor
}

// patient has a guest try a command a few times: a machine that stands still for some
// seconds loses an answer.
func patient(command string) string {
	return "for i in 1 2 3 4 5 6; do if " + command + "; then exit 0; fi; sleep 1; done; exit 1"
}

// spoofed is an address beside addr.
func spoofed(addr string) string { return addr[:strings.LastIndex(addr, ".")+1] + "251" }

func boot(t *testing.T, p *e2e.Pushed, steps []vm.Step) *vm.VM {
	t.Helper()
	if p.Message.Kind != "tap" || p.Result.Interfaces[0].SocketPath != "" {
		t.Errorf("kind %q, socket path %q: want tap and none", p.Message.Kind, p.Result.Interfaces[0].SocketPath)
	}
	mac, err := net.ParseMAC(p.Message.MAC)
	if err != nil {
		t.Fatal(err)
	}
	var console bytes.Buffer
	v, err := vm.Start(soon(t), vm.Config{Tap: p.File, MAC: mac, MTU: p.Message.MTU, Steps: steps, Log: &console})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.Close()
		if t.Failed() {
			t.Logf("console:\n%s", console.String())
		}
	})
	return v
}

func await(t *testing.T, v *vm.VM, what string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(soon(t), 2*time.Minute)
	defer cancel()
	got, err := v.Await(ctx, what)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestBridged has a guest on a LAN with a DHCP server of its own: the uplink is a
// port of the network's bridge, or keeps its address. The guest is a namespace, or,
// when everything is asked for, a machine.
func TestBridged(t *testing.T) {
	vmtest.Need(t) // for busybox
	for name, here := range map[string]string{"port": "", "macvtap": "198.51.100.1/24"} {
		t.Run(name, func(t *testing.T) {
			do := outside(t, "up0", here, "198.51.100.2/24")
			udhcpd(t, do)
			before := traces(t)
			m := machine(t, map[string]any{"mode": "bridged", "uplink": "up0", "frames": "tap"})
			if long() {
				bridgedMachine(t, m)
			} else {
				s, _ := push(t, m, "one", "")
				s.udhcpc(t)
			}
			if err := m.Del(soon(t), "one", "vm://one"); err != nil {
				t.Error(err)
			}
			same(t, before)
		})
	}
}

func bridgedMachine(t *testing.T, m *e2e.Machine) {
	p, err := m.AddPush(soon(t), "one")
	if err != nil {
		t.Fatal(err)
	}
	defer p.File.Close()
	v := boot(t, p, []vm.Step{{Name: "lan", Command: patient("ping -c 1 -W 5 198.51.100.2")}})
	defer v.Close()
	if got := await(t, v, "lease"); !strings.HasPrefix(got, "address=198.51.100.1") {
		t.Errorf("lease %s, want one of the LAN", got)
	}
	await(t, v, "step lan ok")
}

// udhcpc gets an address of the LAN for eth0, and pings what gave it.
func (s space) udhcpc(t *testing.T) {
	t.Helper()
	busybox, err := vm.FindBusybox()
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "script")
	text := "#!/bin/sh\n[ \"$1\" != bound ] || " + busybox + " ifconfig eth0 \"$ip\" netmask 255.255.255.0 && echo \"$1 $ip\"\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	s.do(func() error {
		out, err := exec.CommandContext(soon(t), busybox, "udhcpc", "-f", "-q", "-n", "-t", "60", "-T", "1", "-i", "eth0", "-s", script).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "bound 198.51.100.1") {
			return fmt.Errorf("want an address of the LAN: %w: %s", err, out)
		}
		out, err = exec.CommandContext(soon(t), "sh", "-c", patient(busybox+" ping -c 1 -W 5 198.51.100.2")).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ping: %w: %s", err, out)
		}
		return nil
	})
}

// udhcpd runs busybox's DHCP server on lan0.
func udhcpd(t *testing.T, do func(func() error)) {
	t.Helper()
	busybox, err := vm.FindBusybox()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "udhcpd.conf")
	text := "start 198.51.100.100\nend 198.51.100.199\ninterface lan0\nlease_file " + dir + "/leases\npidfile " + dir + "/pid\nopt subnet 255.255.255.0\nopt router 198.51.100.2\nopt dns 198.51.100.2\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(busybox, "udhcpd", "-f", conf)
	do(cmd.Start)
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}
