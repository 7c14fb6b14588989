package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/guest"
	"github.com/vmnet-cni/vmnet/conformance/vm"
	"github.com/vmnet-cni/vmnet/conformance/vm/vmtest"
)

// example returns the absolute path of a file in examples/.
func example(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../examples", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// withPrograms puts the programs, and those of more directories, into PATH.
func withPrograms(t *testing.T, more ...string) {
	t.Setenv("PATH", strings.Join(append(more, bin, os.Getenv("PATH")), ":"))
}

// output runs a program on a machine and returns its stdout.
func output(t *testing.T, m *e2e.Machine, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(soon(t), program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := m.Run(cmd); err != nil {
		t.Fatalf("%s: %v: %s%s", program, err, &stdout, &stderr)
	}
	return stdout.String()
}

// TestExamplesQEMU boots a real guest with the scripts of examples/qemu.
func TestExamplesQEMU(t *testing.T) {
	vmtest.Need(t)
	for _, name := range []string{"fd.sh", "stream.sh"} {
		t.Run(name, func(t *testing.T) {
			withPrograms(t)
			runQEMU(t, newMachine(t, nil), name)
		})
	}
}

// runQEMU boots a guest with a script, which gets its address and reaches its
// gateway; nothing is left when it has ended.
func runQEMU(t *testing.T, m *e2e.Machine, name string) {
	var console bytes.Buffer
	cfg := vm.Config{
		Script: []string{example(t, "qemu/"+name)}, Log: &console,
		Env:   []string{"VMNET_RUNTIME_DIR=" + m.Dirs.Runtime, "VMNET_STATE_DIR=" + m.Dirs.State},
		Steps: []vm.Step{{Name: "gateway", Command: "ping -c 1 -W 30 $(ip route | awk '/default/ {print $3}')"}},
	}
	g, err := vm.Start(soon(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, want := range []string{"step gateway ok", "done"} {
		if _, err := g.Await(soon(t), want); err != nil {
			g.Close()
			t.Fatalf("%v\n%s", err, &console)
		}
	}
	if err := g.Wait(soon(t)); err != nil {
		t.Errorf("%s: %v\n%s", name, err, &console)
	}
	if n := attachments(t, m); n != 0 {
		t.Errorf("%d attachments are left", n)
	}
}

// standIn stands in for a virtual machine's program: it writes its arguments down
// and is a guest on the frames that they name.
const standIn = `#!/bin/sh
printf '%s ' "$@" >"$ARGUMENTS"
for a; do case $a in *mac=*)
    mac=${a#*mac=}; mac=${mac%%,*}
    case $a in
    *fd=*) fd=${a#*fd=}; exec vmnet-guest -output json -mac "$mac" -fd "${fd%%,*}" ;;
    *) path=${a#*socket=}; exec vmnet-guest -output json -mac "$mac" -socket "${path%%,*}" ;;
    esac ;;
esac; done`

// TestExamplesMac runs the scripts for programs that need a Mac, with a guest in
// Go in their place.
func TestExamplesMac(t *testing.T) {
	const mac = `[0-9a-f]{2}(:[0-9a-f]{2}){5}`
	for _, c := range []struct {
		name, program string
		args          []string
		want          string
	}{
		{"vfkit", "vfkit", []string{"--cpus", "2"}, `^--cpus 2 --device virtio-net,fd=3,mac=` + mac + ` $`},
		{"krunkit", "krunkit", []string{"--cpus", "2"}, `^--cpus 2 --device virtio-net,type=unixgram,fd=3,mac=` + mac + `,offloading=off $`},
		{
			"nerdbox", "ctr", []string{"alpine", "sh"},
			`^run --rm --runtime io\.containerd\.nerdbox\.v1 --annotation io\.containerd\.nerdbox\.network\.0=socket=/\S+,mode=unixgram,mac=` + mac +
				`,addr=192\.168\.\d+\.2/24,addr=\S+ alpine box-\d+ sh $`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, c.program), []byte(standIn), 0o755); err != nil {
				t.Fatal(err)
			}
			withPrograms(t, dir)
			t.Setenv("ARGUMENTS", filepath.Join(dir, "arguments"))
			m := newMachine(t, nil)
			out := output(t, m, example(t, c.name+"/run.sh"), c.args...)
			for _, step := range []string{"dhcp", "arp", "ping"} {
				if !strings.Contains(out, `{"step":"`+step+`","ok":true,`) {
					t.Errorf("no step %s:\n%s", step, out)
				}
			}
			got, err := os.ReadFile(filepath.Join(dir, "arguments"))
			if err != nil || !regexp.MustCompile(c.want).Match(got) {
				t.Errorf("arguments %q, %v; want %s", got, err, c.want)
			}
			if n := attachments(t, m); n != 0 {
				t.Errorf("%d attachments are left", n)
			}
		})
	}
}

// TestExamplesInterrupted has somebody press Ctrl-C, or a signal end everything: the
// scripts that run ADD run DEL, too.
func TestExamplesInterrupted(t *testing.T) {
	for _, c := range []struct {
		name, program string
		sig           syscall.Signal
	}{{"nerdbox/run.sh", "ctr", syscall.SIGINT}, {"qemu/stream.sh", "qemu-system-x86_64", syscall.SIGTERM}} {
		// A signal that is ignored here, as SIGINT in the background of a shell, would be
		// ignored by the script.
		heard := make(chan os.Signal, 1)
		signal.Notify(heard, c.sig)
		defer signal.Stop(heard)
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			const endless = "#!/bin/sh\ncase $1 in --version) echo QEMU emulator version 8.2.0; exit ;; esac\necho runs >\"$RUNS\"\nexec sleep 300\n"
			if err := os.WriteFile(filepath.Join(dir, c.program), []byte(endless), 0o755); err != nil {
				t.Fatal(err)
			}
			withPrograms(t, dir)
			t.Setenv("RUNS", filepath.Join(dir, "runs"))
			m := newMachine(t, nil)
			d := &daemon{Cmd: exec.Command(example(t, c.name), "image"), done: make(chan error, 1)}
			d.SysProcAttr, d.Stderr = &syscall.SysProcAttr{Setpgid: true}, &d.err
			if err := m.Start(d.Cmd); err != nil {
				t.Fatal(err)
			}
			go func() { d.done <- d.Wait() }()
			wait(t, c.program, exists(filepath.Join(dir, "runs")))
			if err := syscall.Kill(-d.Process.Pid, c.sig); err != nil {
				t.Fatal(err)
			}
			if err := <-d.done; err == nil {
				t.Error("the script ends without an error")
			}
			if n := attachments(t, m); n != 0 {
				t.Errorf("%d attachments are left\n%s", n, &d.err)
			}
		})
	}
}

// TestExampleHandover runs the Go program.
func TestExampleHandover(t *testing.T) {
	withPrograms(t)
	m := newMachine(t, nil)
	out := output(t, m, filepath.Join(bin, "handover"))
	want := `^dgram eth0: mac [0-9a-f:]{17}, mtu 1500, \[192\.168\.\d+\.2/24\]\ngateway 192\.168\.\d+\.1 is at [0-9a-f:]{17}\n$`
	if !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("%s, want %s", out, want)
	}
	if n := attachments(t, m); n != 0 {
		t.Errorf("%d attachments are left", n)
	}
}

// group returns the name of this process's group.
func group(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("id", "-gn").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// limaNetwork returns Lima's command line for a network of its file.
func limaNetwork(t *testing.T, dir, name string) (args []string, keys map[string]string) {
	t.Helper()
	data, err := os.ReadFile(example(t, "lima/networks.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(data), "\n  "+name+":\n")
	keys = map[string]string{}
	for line := range strings.Lines(block) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !strings.HasPrefix(line, "    ") || !ok {
			break
		}
		keys[key] = value
	}
	return []string{
		"--pidfile=" + dir + "/shared_socket_vmnet.pid", "--socket-group=" + group(t), "--vmnet-mode=" + keys["mode"],
		"--vmnet-gateway=" + keys["gateway"], "--vmnet-dhcp-end=" + keys["dhcpEnd"], "--vmnet-mask=" + keys["netmask"],
		dir + "/socket_vmnet." + name,
	}, keys
}

// TestExamplesSocketVMNet runs what Lima and Colima run, and our script for Lima.
func TestExamplesSocketVMNet(t *testing.T) {
	withPrograms(t)
	dir := t.TempDir()
	lima, keys := limaNetwork(t, dir, "shared")
	t.Setenv("PREFIX", dir)
	t.Setenv("SHIM", filepath.Join(bin, "vmnet-shim"))
	for _, c := range []struct {
		name, gateway string
		program       string
		args          []string
	}{
		{"lima", keys["gateway"], dropin(t, "socket_vmnet"), lima},
		{"lima socket", "192.168.105.1", example(t, "lima/socket.sh"), []string{dir + "/lima.sock"}},
		// abiosoft/colima, daemon/process/vmnet/vmnet.go
		{"colima", "192.168.118.1", dir + "/opt/colima/bin/socket_vmnet", []string{
			"--vmnet-mode", "shared", "--socket-group", group(t), "--vmnet-gateway", "192.168.118.1",
			"--vmnet-dhcp-end", "192.168.118.254", "--pidfile", dir + "/vmnet-colima.pid", dir + "/vmnet.sock",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, nil)
			output(t, m, example(t, "colima/link.sh"))
			d := startDaemon(t, m, c.program, c.args...)
			socket := c.args[len(c.args)-1]
			listens(t, socket)
			g := streamGuest(t, socket, 1)
			if gw := g.Lease().Router; gw.String() != c.gateway {
				t.Errorf("gateway %s, want %s", gw, c.gateway)
			}
			mustPing(t, g, g.Lease().Router)
			g.Close()
			d.end(t, syscall.SIGTERM)
		})
	}
	undo(t, "colima/link.sh", dir)
}

// undo runs a script with -u, which leaves no link.
func undo(t *testing.T, script, dir string) {
	t.Helper()
	if out, err := exec.Command(example(t, script), "-u").CombinedOutput(); err != nil {
		t.Errorf("%s -u: %v: %s", script, err, out)
	}
	for _, pattern := range []string{"/opt/*/bin/*"} {
		if left, _ := filepath.Glob(dir + pattern); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// TestExampleMinikube runs vmnet-helper as minikube does
// (kubernetes/minikube, pkg/drivers/common/vmnet/vmnet.go).
func TestExampleMinikube(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PREFIX", dir)
	t.Setenv("SHIM", filepath.Join(bin, "vmnet-shim"))
	m := newMachine(t, nil)
	output(t, m, example(t, "minikube/link.sh"))
	helper := dir + "/opt/vmnet-helper/bin/vmnet-helper"

	// It unmarshals this as YAML and compares the number with 0.9.0.
	if out := output(t, m, helper, "--version"); !regexp.MustCompile(`^version: v\d+\.\d+\.\d+\ncommit: \S+\n$`).MatchString(out) {
		t.Errorf("--version: %q", out)
	}
	socket := dir + "/vmnet-helper.sock"
	cmd := exec.Command(helper, "--socket", socket, "--interface-id", "2835e074-9892-4a79-affb-7e41d2605678")
	r, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Start(cmd); err != nil {
		t.Fatal(err)
	}
	var line struct {
		MAC  string `json:"vmnet_mac_address"`
		From string `json:"vmnet_start_address"`
		To   string `json:"vmnet_end_address"`
		Mask string `json:"vmnet_subnet_mask"`
	}
	if err := json.NewDecoder(r).Decode(&line); err != nil || line.MAC == "" || line.From == "" || line.To == "" || line.Mask == "" {
		t.Errorf("line %+v, %v", line, err)
	}
	port, remove, err := guest.DialPort(socket, "dgram", 1514)
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	g := dhcpGuest(t, port, 1)
	mustPing(t, g, g.Lease().Router)
	g.Close()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_, _ = io.Copy(io.Discard, r)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	undo(t, "minikube/link.sh", dir)
}
