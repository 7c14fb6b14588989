package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/guest"
	"github.com/vmnet-cni/vmnet/conformance/vm"
	"github.com/vmnet-cni/vmnet/conformance/vm/vmtest"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// limaArgs are those that Lima gives socket_vmnet for its network "shared".
func limaArgs(t *testing.T, dir string) []string {
	t.Helper()
	g, err := user.LookupGroupId(fmt.Sprint(os.Getgid()))
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"--pidfile=" + dir + "/shared_socket_vmnet.pid", "--socket-group=" + g.Name, "--vmnet-mode=shared",
		"--vmnet-gateway=192.168.105.1", "--vmnet-dhcp-end=192.168.105.254", "--vmnet-mask=255.255.255.0",
		dir + "/socket_vmnet.shared",
	}
}

// dropin returns the path of a link with the name of the program that it stands in
// for.
func dropin(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(filepath.Join(bin, "vmnet-shim"), path); err != nil {
		t.Fatal(err)
	}
	return path
}

// A daemon is a program that runs until it is told to end.
type daemon struct {
	*exec.Cmd
	out, err bytes.Buffer
	done     chan error
}

func startDaemon(t *testing.T, m *e2e.Machine, path string, args ...string) *daemon {
	t.Helper()
	d := &daemon{Cmd: exec.Command(path, args...), done: make(chan error, 1)}
	d.Stdout, d.Stderr = &d.out, &d.err
	if err := m.Start(d.Cmd); err != nil {
		t.Fatal(err)
	}
	go func() { d.done <- d.Wait() }()
	t.Cleanup(func() {
		_ = d.Process.Signal(syscall.SIGTERM) // it may have ended already
		select {
		case err := <-d.done:
			d.done <- err
		case <-time.After(time.Minute):
			t.Errorf("%s does not end", path)
			_ = d.Process.Kill()
		}
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(path), d.err.String())
		}
	})
	return d
}

// end sends a signal and waits for the end.
func (d *daemon) end(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := d.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	err := <-d.done
	d.done <- err
	if err != nil && sig != syscall.SIGKILL {
		t.Errorf("%s: %v\n%s", d.Path, err, d.err.String())
	}
}

func exists(path string) func() bool {
	return func() bool { _, err := os.Lstat(path); return err == nil }
}

// listens waits until somebody accepts connections at a path: the file alone may be
// of one that was killed, or of one that has not begun to listen.
func listens(t *testing.T, path string) {
	t.Helper()
	wait(t, "a socket that listens", func() bool {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// streamGuest is a guest on a stream socket, with a MAC of its own choice.
func streamGuest(t *testing.T, socket string, mac byte) *guest.Guest {
	t.Helper()
	port, remove, err := guest.DialPort(socket, "stream", 1514)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	return dhcpGuest(t, port, mac)
}

func dhcpGuest(t *testing.T, port relay.Port, mac byte) *guest.Guest {
	t.Helper()
	g, err := guest.New(port, guest.Config{MAC: net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, mac}, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	if _, err := g.DHCP(soon(t)); err != nil {
		t.Fatal(err)
	}
	return g
}

func mustPing(t *testing.T, g *guest.Guest, addr netip.Addr) {
	t.Helper()
	if _, err := g.Ping(soon(t), addr); err != nil {
		t.Errorf("ping %s: %v", addr, err)
	}
}

func attachments(t *testing.T, m *e2e.Machine) (n int) {
	t.Helper()
	list, err := m.Client.Attachments(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestSocketVmnet runs socket_vmnet as Lima does.
func TestSocketVmnet(t *testing.T) {
	m := newMachine(t, nil)
	dir := t.TempDir()
	socket, program := dir+"/socket_vmnet.shared", dropin(t, "socket_vmnet")
	d := startDaemon(t, m, program, limaArgs(t, dir)...)
	listens(t, socket)

	a, b := streamGuest(t, socket, 1), streamGuest(t, socket, 2)
	addrA, addrB := a.Lease().Address.Addr(), b.Lease().Address.Addr()
	if a.Lease().Router.String() != "192.168.105.1" || !netip.MustParsePrefix("192.168.105.0/24").Contains(addrA) {
		t.Errorf("lease %+v", a.Lease())
	}
	mustPing(t, a, a.Lease().Router)
	mustPing(t, a, addrB)

	// One that never reads, and one that speaks nonsense, are no matter.
	stalled, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	hello := append([]byte{0, 0, 0, 60, 255, 255, 255, 255, 255, 255, 0x52, 0x54, 0, 0x12, 0x34, 3, 8, 6}, make([]byte, 46)...)
	if _, err := stalled.Write(hello); err != nil {
		t.Fatal(err)
	}
	bad, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	if _, err := bad.Write(bytes.Repeat([]byte{0xff}, 64)); err != nil {
		t.Fatal(err)
	}
	if n, err := bad.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes after nonsense", n)
	}
	wait(t, "three attachments", func() bool { return attachments(t, m) == 3 })
	for range 3 {
		mustPing(t, b, addrA)
	}

	// The same guest again has the same address, and the old connection is nobody's.
	a.Close()
	wait(t, "two attachments", func() bool { return attachments(t, m) == 2 })
	if a = streamGuest(t, socket, 1); a.Lease().Address.Addr() != addrA {
		t.Errorf("address %s, was %s", a.Lease().Address, addrA)
	}

	// Its end by accident is none of the guests' business.
	d.end(t, syscall.SIGKILL)
	mustPing(t, a, addrB)
	d = startDaemon(t, m, program, limaArgs(t, dir)...)
	wait(t, "a pid file of the new one", func() bool {
		text, _ := os.ReadFile(dir + "/shared_socket_vmnet.pid")
		return string(text) == fmt.Sprintln(d.Process.Pid)
	})
	listens(t, socket)
	mustPing(t, a, addrB)
	c := streamGuest(t, socket, 4)
	mustPing(t, c, addrA)
	b.Close()
	wait(t, "b's attachment to go", func() bool { return attachments(t, m) == 3 }) // a, c, and the one that stalls

	// When it is told to end, so do they.
	d.end(t, syscall.SIGTERM)
	if exists(socket)() || exists(dir+"/shared_socket_vmnet.pid")() {
		t.Error("socket or pid file are left")
	}
	a.Close()
	stalled.Close()
	left := startDaemon(t, m, program, limaArgs(t, dir)...) // takes what the one that was killed had
	wait(t, "no attachments", func() bool { return attachments(t, m) == 0 })
	left.end(t, syscall.SIGINT)
}

// TestSocketVmnetOptions has every option of the real program accepted or refused
// by name.
func TestSocketVmnetOptions(t *testing.T) {
	program := dropin(t, "socket_vmnet")
	for _, c := range []struct{ args, want string }{
		{"--vmnet-mode=bridged S", "--vmnet-interface"},
		{"--vmnet-mode=bridged --vmnet-interface=en0 --vmnet-gateway=10.0.0.1 S", "--vmnet-gateway 10.0.0.1"},
		{"--vmnet-mode=nat S", "vmnet-mode"},
		{"--vmnet-dhcp-end=10.0.0.9 S", "--vmnet-dhcp-end 10.0.0.9"},
		{"--vmnet-mask=255.0.0.0 S", "--vmnet-mask 255.0.0.0"},
		{"--vmnet-gateway=10.0.0.1 --vmnet-mask=255.0.255.0 S", "mask 255.0.255.0"},
		{"--vmnet-gateway=10.0.0.1 --vmnet-dhcp-end=10.0.1.9 S", "10.0.1.9"},
		{"--vmnet-gateway=ten S", "vmnet-gateway"},
		{"--vmnet-interface-id=7 S", "--vmnet-interface-id 7"},
		{"--vmnet-network-identifier=7 --vmnet-mode=host S", "--vmnet-network-identifier 7"},
		{"--vmnet-network-identifier=2835E074-9892-4A79-AFFB-7E41D2605678 S", "--vmnet-mode=host"},
		{"--vmnet-nat66-prefix=2001:db8:: S", "vmnet-nat66-prefix"},
		{"--vmnet-disable-dhcp S", "--vmnet-disable-dhcp"},
		{"--no-such S", "--no-such"},
		{"", "SOCKET"},
		{"A B", "SOCKET"},
	} {
		out, err := exec.Command(program, strings.Fields(c.args)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) || !strings.HasPrefix(string(out), "socket_vmnet: ") {
			t.Errorf("%s: %v, %s; want it to name %s", c.args, err, out, c.want)
		}
	}
	if out, err := exec.Command(program, "-v").CombinedOutput(); err != nil || len(out) < 2 {
		t.Errorf("-v: %v, %s", err, out)
	}
}

// TestSocketVmnetQEMU has real guests on socket_vmnet: one through
// socket_vmnet_client, one that reconnects.
func TestSocketVmnetQEMU(t *testing.T) {
	vmtest.Need(t)
	m := newMachine(t, nil)
	dir := t.TempDir()
	socket := dir + "/socket_vmnet.shared"
	startDaemon(t, m, dropin(t, "socket_vmnet"), limaArgs(t, dir)...)
	listens(t, socket)
	small := streamGuest(t, socket, 9)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for name, cfg := range map[string]vm.Config{
		"client":    {Launcher: []string{dropin(t, "socket_vmnet_client"), socket}},
		"reconnect": {StreamPath: socket, Reconnect: true},
	} {
		var console bytes.Buffer
		cfg.MAC, cfg.Log = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, name[0]}, &console
		cfg.Steps = []vm.Step{
			{Name: "gateway", Command: "ping -c 1 -W 30 192.168.105.1"},
			{Name: "neighbour", Command: "ping -c 1 -W 30 " + small.Lease().Address.Addr().String()},
		}
		g, err := vm.Start(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		for _, want := range []string{"step gateway ok", "step neighbour ok", "done"} {
			if _, err := g.Await(ctx, want); err != nil {
				g.Close()
				t.Fatalf("%s: %v\n%s", name, err, console.String())
			}
		}
		if err := g.Wait(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHelper has vmnet-helper serve a descriptor and a path, and parses its line as
// minikube does.
func TestHelper(t *testing.T) {
	const id = "2835E074-9892-4A79-AFFB-7E41D2605678"
	m := newMachine(t, nil)
	program := dropin(t, "vmnet-helper")
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	mine, theirs := os.NewFile(uintptr(fds[0]), "mine"), os.NewFile(uintptr(fds[1]), "theirs")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d := &daemon{Cmd: exec.Command(program, "--fd", "3", "--interface-id", id), done: make(chan error, 1)}
	d.Stdout, d.Stderr, d.ExtraFiles = w, &d.err, []*os.File{theirs}
	if err := m.Start(d.Cmd); err != nil {
		t.Fatal(err)
	}
	go func() { d.done <- d.Wait() }()
	w.Close()
	theirs.Close()
	var line map[string]any
	if err := json.NewDecoder(r).Decode(&line); err != nil {
		t.Fatal(err, d.err.String())
	}
	for _, key := range []string{
		"vmnet_mac_address", "vmnet_mtu", "vmnet_max_packet_size", "vmnet_interface_id", "vmnet_start_address",
		"vmnet_end_address", "vmnet_subnet_mask", "vmnet_nat66_prefix", "vmnet_read_max_packets", "vmnet_write_max_packets",
	} {
		if line[key] == nil {
			t.Errorf("no %s in %v", key, line)
		}
	}
	if line["vmnet_interface_id"] != id || line["vmnet_mtu"] != 1500.0 || line["vmnet_max_packet_size"] != 1514.0 {
		t.Errorf("line %v", line)
	}
	port, err := guest.OpenPort(mine, 1514)
	if err != nil {
		t.Fatal(err)
	}
	g := dhcpGuest(t, port, 7) // any MAC will do, as with the real one
	mustPing(t, g, g.Lease().Router)
	g.Close()
	d.end(t, syscall.SIGTERM)
	if n := attachments(t, m); n != 0 {
		t.Errorf("%d attachments are left", n)
	}

	// By path; the same interface ID has the same MAC. A guest that comes after the
	// first has gone takes its place.
	socket := t.TempDir() + "/h.sock"
	d = startDaemon(t, m, program, "--socket", socket, "--interface-id", id)
	wait(t, "a socket", exists(socket))
	for range 2 {
		port, remove, err := guest.DialPort(socket, "dgram", 1514)
		if err != nil {
			t.Fatal(err)
		}
		g := dhcpGuest(t, port, 7)
		mustPing(t, g, g.Lease().Router)
		g.Close()
		remove()
	}
	d.end(t, syscall.SIGTERM)
	var again map[string]any
	if err := json.Unmarshal(d.out.Bytes(), &again); err != nil || again["vmnet_mac_address"] != line["vmnet_mac_address"] {
		t.Errorf("MAC %v, was %v: %v", again["vmnet_mac_address"], line["vmnet_mac_address"], err)
	}
	if exists(socket)() {
		t.Error("the socket is left")
	}
}

// TestVmnetRun runs a guest that is a program, with its frames as fd 4.
func TestVmnetRun(t *testing.T) {
	m := newMachine(t, nil)
	cmd := exec.Command(dropin(t, "vmnet-run"), "--operation-mode", "shared", "--", "sh", "-c",
		`exec 3>&- ; test "$VMNET_FD" = 4 || exit 9; exec `+filepath.Join(bin, "vmnet-guest")+` -fd 4 -output json; exit 7`)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := m.Run(cmd); err != nil {
		t.Fatalf("%v: %s%s", err, stdout.Bytes(), stderr.Bytes())
	}
	if got, want := fmt.Sprint(steps(t, &stdout)), "[dhcp arp ping]"; got != want {
		t.Errorf("steps %s, want %s", got, want)
	}
}
