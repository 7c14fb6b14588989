package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/require"
)

// Flags of the long runs; go test ./plugins/vmnet -run E2EStress -kills 200 -pairs 10000
var (
	kills = flag.Int("kills", 30, "how many ADDs to kill")
	pairs = flag.Int("pairs", 50, "how many pairs of ADD and DEL to run one after the other")
)

// start runs ADD in a process of its own and does not wait.
func (h *host) startADD(id, cniPath, conf string) *exec.Cmd {
	h.t.Helper()
	cmd := exec.Command(filepath.Join(h.bin, "vmnet"))
	cmd.Env = append(os.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID="+id, "CNI_IFNAME=eth0", "CNI_NETNS=vm://"+id, "CNI_PATH="+cniPath)
	cmd.Stdin = strings.NewReader(conf)
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	return cmd
}

// ADD that is killed at any instant is repaired by the DEL that follows at once:
// no attachment, no socket, no state, no lease, no address of an IPAM plugin, no
// lock. Instants are spread over a little more than an ADD takes, also one that
// starts the shim.
func TestE2EStressKilledADD(t *testing.T) {
	path := needReference(t)
	data := t.TempDir()
	for name, tt := range map[string]struct {
		conf string
		cold bool
		n    int
	}{
		"built in": {conf: e2eConf, n: *kills},
		"ipam":     {conf: hostLocal(t, data, nil), n: *kills},
		"cold":     {conf: e2eConf, cold: true, n: max(*kills/10, 3)},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			env := map[string]string{"CNI_PATH": path}
			span := h.took("warm", env, tt.conf)
			for range 5 {
				if !tt.cold {
					span = min(span, h.took("two", env, tt.conf))
					h.must("DEL", "two", env, tt.conf)
				}
			}
			kept := reserved(t, data)
			killed := 0
			for i := range tt.n {
				if tt.cold {
					h.kill()
				}
				cmd := h.startADD("one", path, tt.conf)
				time.Sleep(rand.N(span)) // the instant is the point
				_ = cmd.Process.Kill()   // or it has ended
				if err := cmd.Wait(); err != nil {
					killed++
				}
				h.must("DEL", "one", env, tt.conf)
				if tt.cold {
					h.must("STATUS", "one", env, tt.conf)
					if _, err := h.client.Status(t.Context()); err != nil { // nothing of it came to be
						h.must("ADD", "one", env, tt.conf)
						h.must("DEL", "one", env, tt.conf)
					}
				}
				if ids := h.attached(); !slices.Equal(ids, []string{"warm"}) {
					t.Fatalf("kill %d: %v", i, ids)
				}
				if got := reserved(t, data); !slices.Equal(got, kept) {
					t.Fatalf("kill %d: reserved: %v, want %v", i, got, kept)
				}
			}
			t.Logf("%d ADDs, %d of them killed, within %v", tt.n, killed, span)
			n, err := h.client.Network(t.Context(), "shared")
			if err != nil || n.Attachments != 1 || name != "ipam" && n.Leases != 1 {
				t.Errorf("network = %+v, %v", n, err)
			}
			h.must("DEL", "warm", env, tt.conf)
			h.clean()
		})
	}
}

// took runs ADD and returns how long it took.
func (h *host) took(id string, env map[string]string, conf string) time.Duration {
	start := time.Now()
	h.must("ADD", id, env, conf)
	return time.Since(start)
}

// 64 containers on 8 networks at once: every result is whole, no address is
// given twice, and nothing is left, in the shim neither.
func TestE2EStressParallel(t *testing.T) {
	h := newHost(t)
	const containers, networks = 64, 8
	h.must("ADD", "warm", nil, e2eConf)
	h.must("DEL", "warm", nil, e2eConf)
	before := h.census()
	for round := range 2 {
		var wg sync.WaitGroup
		outs := make([]outcome, containers)
		conf := func(i int) string {
			return strings.Replace(e2eConf, "shared", fmt.Sprintf("net%d", i%networks), 1)
		}
		for i := range containers {
			wg.Go(func() { outs[i] = h.exec("ADD", fmt.Sprintf("vm%d", i), nil, conf(i)) })
		}
		wg.Wait()
		seen := map[string]bool{}
		for i, out := range outs {
			if out.code != 0 || out.stderr != "" {
				t.Fatalf("round %d, vm%d: %+v", round, i, out)
			}
			r := result(t, out.stdout)
			seen[fmt.Sprintf("net%d %s", i%networks, r.IPs[0].Address.String())] = true
			seen[r.Interfaces[0].Mac] = true
			seen[r.Interfaces[0].SocketPath] = true
		}
		if len(seen) != 3*containers {
			t.Errorf("round %d: %d different addresses, MACs and sockets: want %d", round, len(seen), 3*containers)
		}
		// CHECK, ADD of others and DEL at the same time.
		for i := range containers {
			wg.Go(func() {
				id := fmt.Sprintf("vm%d", i)
				c := strings.TrimSuffix(conf(i), "}") + `,"prevResult":` + outs[i].stdout + "}"
				if got := h.exec("CHECK", id, nil, c); got.code != 0 {
					t.Errorf("CHECK %s: %+v", id, got)
				}
				if got := h.exec("DEL", id, nil, c); got.code != 0 {
					t.Errorf("DEL %s: %+v", id, got)
				}
			})
		}
		wg.Wait()
		h.clean()
	}
	h.settles(before)
}

// Pairs of ADD and DEL, one after the other, leave the shim as it was.
func TestE2EStressPairs(t *testing.T) {
	h := newHost(t)
	for range 10 { // until pools and caches of the shim have their size
		h.must("ADD", "one", nil, e2eConf)
		h.must("DEL", "one", nil, e2eConf)
	}
	before := h.census()
	var add, del time.Duration
	for i := range *pairs {
		id := fmt.Sprintf("vm%d", i)
		start := time.Now()
		out := h.must("ADD", id, nil, e2eConf)
		mid := time.Now()
		h.must("DEL", id, nil, e2eConf)
		add, del = add+mid.Sub(start), del+time.Since(mid)
		result(t, out)
	}
	n := time.Duration(max(*pairs, 1))
	t.Logf("%d pairs: ADD %v, DEL %v on average; shim before %+v, after %+v", *pairs, add/n, del/n, before, h.census())
	h.clean()
	h.settles(before)
}

// A census is what the shim uses.
type census struct {
	goroutines, fds int
	rssMiB          int // Linux
}

func (h *host) census() (c census) {
	h.t.Helper()
	require.Linux(h.t) // counts another process's descriptors
	s, err := h.client.Status(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID))
	if err != nil {
		h.t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID))
	if err != nil {
		h.t.Fatal(err)
	}
	_, rss, _ := strings.Cut(string(status), "VmRSS:")
	kib := 0
	_, _ = fmt.Sscan(rss, &kib)
	return census{s.Goroutines, len(fds), kib >> 10}
}

// settles waits until the shim uses no more than before: connections of the
// plugins that ended close a moment later.
func (h *host) settles(before census) {
	h.t.Helper()
	waitFor(h.t, fmt.Sprintf("return of the shim to %+v", before), func() bool {
		now := h.census()
		return now.goroutines <= before.goroutines+2 && now.fds <= before.fds+2
	})
}
