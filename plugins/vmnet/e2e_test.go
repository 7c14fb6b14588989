package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// built says that bin has been called, so that TestMain has something to remove.
var built bool

// bin builds the plugin and the shim, once for all tests of this process.
var bin = sync.OnceValues(func() (string, error) {
	built = true
	dir, err := os.MkdirTemp("", "vmnet-bin")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir, ".", "../../cmd/vmnet-shim")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("go build: %w: %s", err, out), os.RemoveAll(dir))
	}
	return dir, nil
})

// A host is a machine for one test: directories of its own, the built programs,
// and a shim that the plugin starts when it needs one.
type host struct {
	t      *testing.T
	bin    string
	dir    string
	client *shim.Client
}

func newHost(t *testing.T) *host {
	t.Helper()
	programs, err := bin()
	if err != nil {
		t.Fatal(err)
	}
	runtime, state := emptyDirs(t)
	h := &host{t: t, bin: programs, dir: filepath.Dir(state), client: shim.NewClient(filepath.Join(runtime, "shim.sock"))}
	t.Cleanup(h.stop)
	return h
}

// stop ends the shim, and proves that it ends when it is asked to.
func (h *host) stop() {
	h.client.Close()
	s, err := h.client.Status(context.Background())
	if err != nil {
		return // none runs
	}
	if err := syscall.Kill(s.PID, syscall.SIGTERM); err != nil {
		h.t.Error(err)
	}
	h.client.Close()
	waitFor(h.t, "end of the shim", func() bool { return errors.Is(syscall.Kill(s.PID, 0), syscall.ESRCH) || zombie(s.PID) })
	if h.t.Failed() {
		log, _ := os.ReadFile(filepath.Join(h.dir, "state", "shim.log"))
		h.t.Logf("shim.log:\n%s", log)
	}
}

// zombie reports whether a process has ended and nobody has waited for it: this
// process, when it called Ensure itself, or a container without an init.
func zombie(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	return strings.HasPrefix(rest, "Z")
}

// exec runs a verb in a process of its own, as a runtime does: with pipes that
// must reach their end soon after the plugin's.
func (h *host) exec(verb, id string, env map[string]string, conf string) outcome {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(h.bin, "vmnet"))
	vars := map[string]string{"CNI_COMMAND": verb, "CNI_CONTAINERID": id, "CNI_IFNAME": "eth0", "CNI_NETNS": "vm://" + id}
	for k, v := range env {
		vars[k] = v
	}
	cmd.Env = os.Environ()
	for k, v := range vars {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(conf), &stdout, &stderr
	err := cmd.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		h.t.Errorf("%s %s: %v", verb, id, err)
		return outcome{code: -1, stdout: stdout.String()}
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs a verb that must succeed.
func (h *host) must(verb, id string, env map[string]string, conf string) string {
	h.t.Helper()
	got := h.exec(verb, id, env, conf)
	if got.code != 0 || verb != "ADD" && got.stdout != "" || got.stderr != "" {
		h.t.Fatalf("%s %s: %+v", verb, id, got)
	}
	return got.stdout
}

// attached returns the container IDs of what the shim has, sorted.
func (h *host) attached() (ids []string) {
	h.t.Helper()
	atts, err := h.client.Attachments(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, a := range atts {
		ids = append(ids, a.ContainerID)
	}
	return ids
}

// clean fails unless nothing is left of any attachment.
func (h *host) clean() {
	h.t.Helper()
	if ids := h.attached(); len(ids) != 0 {
		h.t.Errorf("attachments are left: %v", ids)
	}
	for _, dir := range []string{"run/s", "state/attachments"} {
		if left, _ := os.ReadDir(filepath.Join(h.dir, dir)); len(left) != 0 {
			h.t.Errorf("%s: %v is left", dir, left)
		}
	}
}

const e2eConf = `{"cniVersion":"1.1.0","name":"shared","type":"vmnet"}`

func result(t *testing.T, out string) (r types100.Result) {
	t.Helper()
	oneDocument(t, out, &r)
	if len(r.Interfaces) == 0 || len(r.IPs) == 0 {
		t.Fatalf("result = %s", out)
	}
	return r
}

// withPrev returns the configuration with the result of ADD in it.
func withPrev(t *testing.T, out string) string {
	return conf(t, "", map[string]any{"shim": nil, "prevResult": raw(out)})
}

func TestE2E(t *testing.T) {
	h := newHost(t)
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	h.must("DEL", "never", nil, e2eConf) // before any shim ran
	h.must("STATUS", "x", nil, e2eConf)
	if _, err := h.client.Status(t.Context()); !errors.Is(err, shim.ErrNotRunning) {
		t.Errorf("DEL or STATUS started a shim: %v", err)
	}
	for _, netns := range []string{"vm://one", filepath.Join(dir, "nonexistent"), "plain", fifo, "/dev/null"} {
		t.Run(filepath.Base(netns), func(t *testing.T) {
			env := map[string]string{"CNI_NETNS": netns}
			out := h.must("ADD", "one", env, e2eConf)
			r := result(t, out)
			if r.Interfaces[0].Sandbox != netns || r.Interfaces[0].SocketPath == "" || r.Interfaces[0].Mtu != 1500 {
				t.Errorf("interface = %+v", r.Interfaces[0])
			}
			h.must("CHECK", "one", env, withPrev(t, out))
			if got := h.exec("ADD", "one", env, e2eConf); got.code == 0 || !strings.Contains(got.stdout, `"code":100`) || !strings.Contains(got.stdout, "is there already") {
				t.Errorf("second ADD: %+v", got)
			}
			h.must("CHECK", "one", env, withPrev(t, out)) // the first is intact
			h.must("STATUS", "one", env, e2eConf)
			h.must("DEL", "one", env, withPrev(t, out))
			h.must("DEL", "one", env, e2eConf)
			h.must("DEL", "one", map[string]string{"CNI_NETNS": ""}, e2eConf)
			if got := h.exec("CHECK", "one", env, withPrev(t, out)); got.code == 0 || !strings.Contains(got.stdout, `"code":3`) {
				t.Errorf("CHECK after DEL: %+v", got)
			}
			h.clean()
		})
	}
}

// A network namespace is refused: a container in it would get nothing.
func TestE2ENetworkNamespace(t *testing.T) {
	require.Linux(t)
	const netns = "/proc/self/ns/net"
	h := newHost(t)
	got := h.exec("ADD", "one", map[string]string{"CNI_NETNS": netns}, e2eConf)
	if got.code == 0 || !strings.Contains(got.stdout, "network namespace") || !strings.Contains(got.stdout, `"code":4`) {
		t.Errorf("ADD: %+v", got)
	}
	oneDocument(t, got.stdout, &struct{}{})
	h.must("DEL", "one", map[string]string{"CNI_NETNS": netns}, e2eConf)
}

// The frame fd comes before ADD returns, and frames pass: the gateway answers
// an ARP request.
func TestE2EPush(t *testing.T) {
	h := newHost(t)
	for _, frames := range []string{"dgram", "stream"} {
		l, err := handover.Listen(filepath.Join(h.dir, "vm.sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		offers := make(chan *handover.Offer, 1)
		go func() {
			if o, err := l.Accept(t.Context()); err == nil && o.Accept() == nil {
				offers <- o
			}
		}()
		out := h.must("ADD", "one", map[string]string{"CNI_NETNS": l.Path()}, conf(t, "", map[string]any{"shim": nil, "frames": frames}))
		r := result(t, out)
		o := <-offers
		defer o.File.Close()
		if o.Message.Kind != frames || o.Message.MAC != r.Interfaces[0].Mac || o.Message.MTU != r.Interfaces[0].Mtu || !slices.Equal(o.Message.IPs, []string{r.IPs[0].Address.String()}) {
			t.Errorf("message %+v does not fit result %s", o.Message, out)
		}
		askGateway(t, o, r)
		a, err := h.client.Attachment(t.Context(), "shared", "one", "eth0")
		if err != nil || !a.Peer.Connected || a.Peer.Via != "fd" {
			t.Errorf("attachment = %+v, %v", a, err)
		}
		h.must("DEL", "one", map[string]string{"CNI_NETNS": l.Path()}, e2eConf)
		h.clean()
		l.Close()
	}
}

// askGateway sends an ARP request over the frame fd and waits for the reply.
func askGateway(t *testing.T, o *handover.Offer, r types100.Result) {
	t.Helper()
	mac := mustMAC(t, o.Message.MAC)
	frame := slices.Concat(bytes.Repeat([]byte{0xff}, 6), mac, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1},
		mac, r.IPs[0].Address.IP.To4(), make([]byte, 6), r.IPs[0].Gateway.To4())
	if o.Message.Kind == handover.KindStream {
		frame = append([]byte{0, 0, 0, byte(len(frame))}, frame...)
	}
	if _, err := o.File.Write(frame); err != nil {
		t.Fatal(err)
	}
	replied := make(chan bool, 1)
	go func() {
		buf := make([]byte, 2000)
		for {
			n, err := o.File.Read(buf)
			if err != nil {
				replied <- false
				return
			}
			if bytes.Contains(buf[:n], []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 2}) {
				replied <- true
				return
			}
		}
	}()
	select {
	case ok := <-replied:
		if !ok {
			t.Error("the frame fd ended before the gateway answered")
		}
	case <-time.After(5 * time.Second):
		o.File.Close()
		t.Error("no answer to ARP from the gateway in 5s")
	}
}

func mustMAC(t *testing.T, s string) []byte {
	t.Helper()
	var mac [6]byte
	if _, err := fmt.Sscanf(s, "%02x:%02x:%02x:%02x:%02x:%02x", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]); err != nil {
		t.Fatalf("mac %q: %v", s, err)
	}
	return mac[:]
}

// A runtime that refuses leaves nothing behind.
func TestE2EPushRefused(t *testing.T) {
	h := newHost(t)
	h.must("ADD", "other", nil, e2eConf)
	l, err := handover.Listen(filepath.Join(h.dir, "vm.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if o, err := l.Accept(t.Context()); err == nil {
			_ = o.Reject(errors.New("machine is off"))
		}
	}()
	got := h.exec("ADD", "one", map[string]string{"CNI_NETNS": l.Path()}, e2eConf)
	if got.code == 0 || !strings.Contains(got.stdout, "machine is off") || !strings.Contains(got.stdout, `"code":103`) {
		t.Errorf("ADD: %+v", got)
	}
	if ids := h.attached(); !slices.Equal(ids, []string{"other"}) {
		t.Errorf("attachments: %v", ids)
	}
	h.must("DEL", "other", nil, e2eConf)
	h.clean()
}

// After kill -9 of the shim the next ADD starts a new one; no address is lost or
// given twice, and DEL of the first works, also when it is what starts the shim.
func TestE2EKill(t *testing.T) {
	h := newHost(t)
	one := result(t, h.must("ADD", "one", nil, e2eConf))
	kill := func() {
		t.Helper()
		s, err := h.client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "end of the shim", func() bool { _, err := h.client.Status(t.Context()); return err != nil })
	}
	kill()
	if got := h.exec("CHECK", "one", nil, withPrev(t, h.encode(one))); got.code == 0 || !strings.Contains(got.stdout, `"code":11`) {
		t.Errorf("CHECK without a shim: %+v", got)
	}
	two := result(t, h.must("ADD", "two", nil, e2eConf))
	if two.IPs[0].Address.String() == one.IPs[0].Address.String() {
		t.Errorf("both have %s", two.IPs[0].Address.String())
	}
	if ids := h.attached(); !slices.Equal(ids, []string{"one", "two"}) {
		t.Errorf("after the restart: %v", ids)
	}
	h.must("CHECK", "one", nil, withPrev(t, h.encode(one)))
	h.must("DEL", "one", nil, e2eConf)
	kill()
	h.must("DEL", "two", nil, e2eConf) // starts a shim, since two is recorded
	h.clean()
	kill()
	h.must("DEL", "two", nil, e2eConf) // starts none
	if _, err := h.client.Status(t.Context()); !errors.Is(err, shim.ErrNotRunning) {
		t.Errorf("DEL without anything recorded started a shim: %v", err)
	}
}

func (h *host) encode(r types100.Result) string {
	out, err := json.Marshal(&r)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(out)
}

// 32 ADDs race on a machine where nothing listens: one shim starts, and 32
// different addresses are given.
func TestE2ERace(t *testing.T) {
	h := newHost(t)
	const n = 32
	outs := make([]outcome, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { outs[i] = h.exec("ADD", fmt.Sprintf("vm%d", i), nil, e2eConf) })
	}
	wg.Wait()
	seen := map[string]bool{}
	for i, out := range outs {
		if out.code != 0 {
			t.Errorf("vm%d: %s", i, out.stdout)
			continue
		}
		r := result(t, out.stdout)
		seen[r.IPs[0].Address.String()] = true
		seen[r.Interfaces[0].Mac] = true
	}
	if len(seen) != 2*n {
		t.Errorf("%d different addresses and MACs: want %d", len(seen), 2*n)
	}
	log, err := os.ReadFile(filepath.Join(h.dir, "state", "shim.log"))
	if starts := strings.Count(string(log), "msg=serving"); err != nil || starts != 1 {
		t.Errorf("%d shims started, %v: want 1", starts, err)
	}
	for i := range n {
		wg.Go(func() { h.mustFromAnywhere("DEL", fmt.Sprintf("vm%d", i)) })
	}
	wg.Wait()
	h.clean()
}

// mustFromAnywhere is must for goroutines that are not the test's.
func (h *host) mustFromAnywhere(verb, id string) {
	if got := h.exec(verb, id, nil, e2eConf); got.code != 0 {
		h.t.Errorf("%s %s: %+v", verb, id, got)
	}
}

// GC keeps what it is told to, in this network only.
func TestE2EGC(t *testing.T) {
	h := newHost(t)
	for _, id := range []string{"a", "b", "c"} {
		h.must("ADD", id, nil, e2eConf)
	}
	h.must("ADD", "x", nil, strings.Replace(e2eConf, "shared", "other", 1))
	h.must("GC", "", nil, conf(t, "", map[string]any{"shim": nil, "cni.dev/valid-attachments": raw(`[{"containerID":"b","ifname":"eth0"}]`)}))
	if ids := h.attached(); !slices.Equal(ids, []string{"x", "b"}) {
		t.Errorf("after GC: %v", ids)
	}
}

// ADD that is killed at any instant is repaired by DEL.
func TestE2EKilledADD(t *testing.T) {
	h := newHost(t)
	h.must("ADD", "warm", nil, e2eConf)
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*500*time.Microsecond)
		cmd := exec.CommandContext(ctx, filepath.Join(h.bin, "vmnet"))
		cmd.Env = append(os.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID=one", "CNI_IFNAME=eth0", "CNI_NETNS=vm://one")
		cmd.Stdin = strings.NewReader(e2eConf)
		_ = cmd.Run() // killed or not, as the clock has it
		cancel()
		h.must("DEL", "one", nil, e2eConf)
		if ids := h.attached(); !slices.Equal(ids, []string{"warm"}) {
			t.Fatalf("killed after %d × 500µs: %v", i, ids)
		}
	}
	h.must("DEL", "warm", nil, e2eConf)
	h.clean()
}

// A signal while the runtime keeps ADD waiting, and a stdout that nobody reads:
// both take the attachment back.
func TestE2EInterruptedADD(t *testing.T) {
	h := newHost(t)
	h.must("ADD", "warm", nil, e2eConf)
	start := func(netns string, stdout *os.File) *exec.Cmd {
		cmd := exec.Command(filepath.Join(h.bin, "vmnet"))
		cmd.Env = append(os.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID=one", "CNI_IFNAME=eth0", "CNI_NETNS="+netns)
		cmd.Stdin, cmd.Stdout = strings.NewReader(e2eConf), stdout
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	failsCleanly := func(cmd *exec.Cmd) {
		t.Helper()
		if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("ADD ended with %v: want exit code 1", cmd.ProcessState)
		}
		if ids := h.attached(); !slices.Equal(ids, []string{"warm"}) {
			t.Errorf("attachments: %v", ids)
		}
	}

	l, err := handover.Listen(filepath.Join(h.dir, "vm.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := start(l.Path(), nil)
	o, err := l.Accept(t.Context()) // and no answer
	if err != nil {
		t.Fatal(err)
	}
	defer o.File.Close()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	failsCleanly(cmd)

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	cmd = start("vm://one", w)
	w.Close()
	failsCleanly(cmd)
	h.must("DEL", "warm", nil, e2eConf)
	h.clean()
}

// Through libcni, with the examples, as runtimes do it: capabilities arrive, the
// cached result comes back for CHECK and DEL.
func TestE2ELibcni(t *testing.T) {
	h := newHost(t)
	cni := libcni.NewCNIConfigWithCacheDir([]string{h.bin}, filepath.Join(h.dir, "cache"), nil)
	for _, name := range []string{"10-shared.conflist", "20-host.conflist"} {
		list, err := libcni.ConfListFromFile(filepath.Join("../../examples/net.d", name))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		rt := &libcni.RuntimeConf{
			ContainerID: strings.Repeat("0123456789abcdef", 4), NetNS: "vm://one", IfName: "eth0",
			Args:           [][2]string{{"K8S_POD_NAME", "pod"}, {"IgnoreUnknown", "1"}, {"X", "y"}},
			CapabilityArgs: map[string]any{"mac": "02:00:00:00:00:77", "dns": map[string]any{"Servers": []string{"9.9.9.9"}}},
		}
		if _, err := cni.ValidateNetworkList(ctx, list); err != nil {
			t.Errorf("VERSION: %v", err)
		}
		if err := cni.GetStatusNetworkList(ctx, list); err != nil {
			t.Errorf("STATUS: %v", err)
		}
		res, err := cni.AddNetworkList(ctx, list, rt)
		if err != nil {
			t.Fatalf("ADD: %v", err)
		}
		r, err := types100.NewResultFromResult(res)
		if err != nil {
			t.Fatal(err)
		}
		if i := r.Interfaces[0]; i.Mac != "02:00:00:00:00:77" || len(i.SocketPath) > 103 || r.DNS.Nameservers[0] != "9.9.9.9" {
			t.Errorf("result = %+v, dns %+v", i, r.DNS)
		}
		if err := cni.CheckNetworkList(ctx, list, rt); err != nil {
			t.Errorf("CHECK: %v", err)
		}
		if err := cni.DelNetworkList(ctx, list, rt); err != nil {
			t.Errorf("DEL: %v", err)
		}
		h.must("ADD", "stale", nil, fmt.Sprintf(`{"cniVersion":"1.1.0","name":%q,"type":"vmnet","mode":%q}`, list.Name, list.Name))
		if err := cni.GCNetworkList(ctx, list, &libcni.GCArgs{}); err != nil {
			t.Errorf("GC: %v", err)
		}
		h.clean()
	}
}
