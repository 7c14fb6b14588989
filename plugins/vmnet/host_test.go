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

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/internal/tempdir"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// built says that bin has been called, so that TestMain has something to remove.
var built bool

// bin builds the plugin and the shim, once for all tests of this process.
var bin = sync.OnceValues(func() (string, error) {
	built = true
	dir, err := tempdir.Make("vmnet-bin")
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
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
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
	if err != nil && !errors.Is(err, shim.ErrNotRunning) { // one that never started has none
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

const e2eConf = `{"cniVersion":"1.1.0","name":"shared","type":"vmnet","shim":{"timeout":"60s"}}`

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

func (h *host) encode(r types100.Result) string {
	out, err := json.Marshal(&r)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(out)
}

// mustFromAnywhere is must for goroutines that are not the test's.
func (h *host) mustFromAnywhere(verb, id string) {
	if got := h.exec(verb, id, nil, e2eConf); got.code != 0 {
		h.t.Errorf("%s %s: %+v", verb, id, got)
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
	case <-time.After(time.Minute):
		o.File.Close()
		t.Error("no answer to ARP from the gateway in a minute")
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
