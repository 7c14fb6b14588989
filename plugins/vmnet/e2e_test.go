package main

import (
	"context"
	"errors"
	"fmt"
	"net"
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
		if o.Message.Kind != frames || o.Message.MAC != r.Interfaces[0].Mac || o.Message.MTU != r.Interfaces[0].Mtu || !slices.Equal(o.Message.IPs, []string{r.IPs[0].Address.String(), r.IPs[1].Address.String()}) {
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

// After kill -9 of shim and keeper the next ADD starts a new one; no address is lost or
// given twice, and DEL of the first works, also when it is what starts the shim.
func TestE2EKill(t *testing.T) {
	h := newHost(t)
	one := result(t, h.must("ADD", "one", nil, e2eConf))
	h.kill()
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
	h.kill()
	h.must("DEL", "two", nil, e2eConf) // starts a shim, since two is recorded
	h.clean()
	h.kill()
	h.must("DEL", "two", nil, e2eConf) // starts none
	if _, err := h.client.Status(t.Context()); !errors.Is(err, shim.ErrNotRunning) {
		t.Errorf("DEL without anything recorded started a shim: %v", err)
	}
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
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
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

// STATUS says 50 when no address is left, and nothing when one is again. It
// writes nothing.
func TestE2EStatusExhausted(t *testing.T) {
	h := newHost(t)
	c := conf(t, "", map[string]any{"shim": nil, "subnet": "10.7.0.0/29"})
	n := 0
	for ; n < 8; n++ {
		if got := h.exec("ADD", fmt.Sprintf("vm%d", n), nil, c); got.code != 0 {
			if !strings.Contains(got.stdout, `"code":102`) {
				t.Errorf("ADD %d: %+v", n, got)
			}
			break
		}
	}
	before := files(t, h.dir)
	if got := h.exec("STATUS", "", nil, c); got.code == 0 || !strings.Contains(got.stdout, `"code":50`) || !strings.Contains(got.stdout, "10.7.0.0/29") {
		t.Errorf("STATUS with %d attachments: %+v", n, got)
	}
	if after := files(t, h.dir); !slices.Equal(before, after) {
		t.Errorf("STATUS changed %v to %v", before, after)
	}
	h.must("STATUS", "", nil, strings.Replace(e2eConf, "shared", "other", 1)) // of another network
	h.must("DEL", "vm0", nil, c)
	h.must("STATUS", "", nil, c)
	h.must("ADD", "another", nil, c)
}

// CHECK sees what happened behind the shim's back, and mends nothing.
func TestE2ECheckSockets(t *testing.T) {
	h := newHost(t)
	out := h.must("ADD", "one", nil, e2eConf)
	path := result(t, out).Interfaces[0].SocketPath
	drifts := func(want string) {
		t.Helper()
		got := h.exec("CHECK", "one", nil, withPrev(t, out))
		if got.code == 0 || !strings.Contains(got.stdout, `"code":104`) || !strings.Contains(got.stdout, want) {
			t.Errorf("CHECK: %+v: want %q", got, want)
		}
	}
	if err := os.Rename(path, path+"x"); err != nil {
		t.Fatal(err)
	}
	drifts("no such file")
	drifts("no such file")
	if l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	} else {
		defer l.Close()
	}
	drifts("is not the shim's any more")
	if err := os.Rename(path+"x", path); err != nil {
		t.Fatal(err)
	}
	h.must("CHECK", "one", nil, withPrev(t, out))
	h.must("DEL", "one", nil, e2eConf)
	h.clean()
}

// DEL and GC that meet a shim in the moment of its death do their work with the
// next one.
func TestE2EDelWhileShimDies(t *testing.T) {
	h := newHost(t)
	for i := range 12 {
		h.must("ADD", "one", nil, e2eConf)
		s, err := h.client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			h.must("DEL", "one", nil, e2eConf)
		} else {
			h.must("GC", "", nil, conf(t, "", map[string]any{"shim": nil, "cni.dev/valid-attachments": raw("[]")}))
		}
		h.client.Close()
		h.must("ADD", "two", nil, e2eConf) // so that a shim runs
		if ids := h.attached(); !slices.Equal(ids, []string{"two"}) {
			t.Fatalf("attachments: %v", ids)
		}
		h.must("DEL", "two", nil, e2eConf)
	}
	h.clean()
}
