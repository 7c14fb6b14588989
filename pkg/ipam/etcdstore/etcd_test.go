package etcdstore_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/etcdstore"
)

// A proc is a running etcd member. It ends with the test.
type proc struct {
	t    testing.TB
	args []string
	dir  string

	mu  sync.Mutex
	cmd *exec.Cmd // nil while not running
	log string
}

// startProc starts a program with arguments; its output goes to a file that is
// shown if the test fails.
func startProc(t testing.TB, dir string, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, args: args, dir: dir, log: filepath.Join(dir, "log")}
	p.start()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			if data, err := os.ReadFile(p.log); err == nil {
				t.Logf("%s: the last of its log:\n%s", dir, data[max(0, len(data)-2000):])
			}
		}
	})
	return p
}

func (p *proc) start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.SysProcAttr = log, log, p.dir, procAttr()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.cmd = cmd
}

// kill kills the process, as a crash would, and waits for its end.
func (p *proc) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// fast makes a member's disk one that needs no fsync where there is such: the
// tests that kill members leave their files to the same kernel.
func fastDir(t testing.TB) string {
	t.Helper()
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(base, "vmnet-etcd-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// single starts a cluster of one member on unix sockets and returns its endpoint.
func single(t testing.TB, dir string, args ...string) (endpoint string, p *proc) {
	t.Helper()
	etcd := require.Tool(t, "etcd")
	// etcd 3.4 wants HOST:PORT of a unix socket too, and takes it for a file of
	// that name in its directory.
	const client, peer = "unix://c:0", "unix://p:0"
	p = startProc(t, dir, append([]string{
		etcd, "--name", "one", "--data-dir", filepath.Join(dir, "data"),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "one=" + peer,
		"--log-level", "warn", "--auto-compaction-mode", "periodic", "--auto-compaction-retention", "1h",
	}, args...)...)
	return "unix://" + dir + "/c:0", p
}

// patience is the time-out of stores whose test is not about time-outs: a machine
// may stall, and a write that gets no answer within a quarter of it counts as lost.
const patience = time.Minute

// open opens a store, which the test closes at its end.
func open(t testing.TB, cfg etcdstore.Config) *etcdstore.Store {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = patience
	}
	s, err := etcdstore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// ready waits until the store answers.
func ready(t testing.TB, s ipam.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for {
		err := s.Transact(ctx, ipam.ReadOnly, func(tx ipam.Tx) error {
			_, err := tx.Get(ipam.TableLeases, []byte("none"))
			return err
		})
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("etcd does not answer: %v", err)
		}
	}
}

// waitFor polls until ok, which takes some time, but no longer than limit.
func waitFor(t testing.TB, what string, limit time.Duration, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > limit {
			t.Fatalf("%s: not within %s", what, limit)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begin)
}

// prefixes gives each store a prefix of its own.
func prefixes() func() string {
	var mu sync.Mutex
	n := 0
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprintf("/test/%d/", n)
	}
}

// spread tells how long operations took.
func spread(times []time.Duration) string {
	times = slices.Sorted(slices.Values(times))
	at := func(p int) time.Duration { return times[(len(times)-1)*p/100].Round(10 * time.Microsecond) }
	return fmt.Sprintf("p50 %s, p99 %s, most %s", at(50), at(99), at(100))
}
