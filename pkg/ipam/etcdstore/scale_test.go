package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/etcdstore"
)

// guests is how many guests each machine of the fleet has.
const guests = 32

// TestScale simulates a fleet of $VMNET_SCALE machines in one network and prints
// the figures of docs/scale.md.
func TestScale(t *testing.T) {
	machines, _ := strconv.Atoi(os.Getenv("VMNET_SCALE"))
	if machines <= 0 {
		t.Skip("set VMNET_SCALE to the number of machines")
	}
	endpoint, p := single(t, fastDir(t), "--quota-backend-bytes", "8589934592")
	f := &fleet{t: t, endpoint: endpoint, etcd: p, pool: fleetPool("10.0.0.0/8")}
	ready(t, open(t, etcdstore.Config{Endpoints: []string{endpoint}}))
	f.report("empty")
	for _, part := range []int{4, 2, 1} { // a quarter, a half, all
		f.start(machines/part, 3)
	}
	f.watched()
	f.listed()
	f.restart(min(machines, 1000))
	for _, wide := range []int{1, 4, 16, 64, 256} {
		f.contend(wide)
	}
}

type fleet struct {
	t        *testing.T
	endpoint string
	etcd     *proc
	pool     ipam.Pool
	next     atomic.Int64
}

// machineOf makes the leases of one machine: 32 at once, as when it boots. times
// get how long each took, from the first request to its answer.
func (f *fleet) machineOf(name string, times []time.Duration) etcdstore.Counters {
	s, err := etcdstore.Open(etcdstore.Config{Endpoints: []string{f.endpoint}, Machine: name, Timeout: time.Minute, TTL: time.Hour, Grace: time.Hour})
	if err != nil {
		f.t.Error(err)
		return etcdstore.Counters{}
	}
	defer func() { _ = s.Close() }()
	a := ipam.New(s, ipam.Config{Machine: name})
	var wg sync.WaitGroup
	for g := range times {
		wg.Go(func() {
			begin := time.Now()
			if _, err := a.Allocate(context.Background(), request(fmt.Sprintf("%s-%032x", name, g), f.pool)); err != nil {
				f.t.Error(err)
			}
			times[g] = time.Since(begin)
		})
	}
	wg.Wait()
	return s.Counters()
}

// start brings the fleet to n machines, so many at a time.
func (f *fleet) start(n, wide int) {
	from := int(f.next.Load())
	all := make([]time.Duration, (n-from)*guests)
	var conflicts atomic.Uint64
	var wg sync.WaitGroup
	begin := time.Now()
	for range wide {
		wg.Go(func() {
			for {
				i := int(f.next.Add(1)) - 1
				if i >= n {
					return
				}
				at := (i - from) * guests
				c := f.machineOf(fmt.Sprintf("machine-%05d", i), all[at:at+guests])
				conflicts.Add(c.Conflicts)
			}
		})
	}
	wg.Wait()
	f.next.Store(int64(n))
	took := time.Since(begin)
	f.report(fmt.Sprintf("%d machines, %d leases: %d new in %s (%.0f/s), %s, %d conflicts", n, n*guests,
		len(all), took.Round(time.Millisecond), float64(len(all))/took.Seconds(), spread(all), conflicts.Load()))
}

// contend has so many machines boot at the same instant.
func (f *fleet) contend(wide int) {
	all := make([]time.Duration, wide*guests)
	var conflicts, commits atomic.Uint64
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range wide {
		wg.Go(func() {
			c := f.machineOf(fmt.Sprintf("burst-%d-%d", wide, i), all[i*guests:(i+1)*guests])
			conflicts.Add(c.Conflicts)
			commits.Add(c.Commits)
		})
	}
	wg.Wait()
	f.t.Logf("%d machines boot at once: %d leases in %s, %s, %d commits, %d conflicts", wide, len(all),
		time.Since(begin).Round(time.Millisecond), spread(all), commits.Load(), conflicts.Load())
}

// watched counts what a watch of the network gets.
func (f *fleet) watched() {
	s := open(f.t, etcdstore.Config{Endpoints: []string{f.endpoint}, Timeout: time.Minute})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var n atomic.Int64
	done := make(chan error, 1)
	go func() { done <- s.Watch(ctx, "small", func(etcdstore.Change) { n.Add(1) }) }()
	there := f.next.Load() * guests
	took := waitFor(f.t, "the watch has the leases there are", time.Minute, func() bool { return n.Load() >= there })
	f.t.Logf("watch: %d leases that there are after %s", there, took.Round(time.Millisecond))
	begin := time.Now()
	f.machineOf("watched", make([]time.Duration, guests))
	waitFor(f.t, "the watch has the new ones", time.Minute, func() bool { return n.Load() >= there+guests })
	f.t.Logf("watch: %d changes after %s", guests, time.Since(begin).Round(time.Millisecond))
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		f.t.Error(err)
	}
}

// listed times a listing of all leases.
func (f *fleet) listed() {
	s := open(f.t, etcdstore.Config{Endpoints: []string{f.endpoint}, Timeout: time.Minute})
	begin := time.Now()
	l, err := ipam.New(s, ipam.Config{}).List(context.Background(), "")
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Logf("list: %d leases in %s", len(l), time.Since(begin).Round(time.Millisecond))
	seen := map[string]bool{}
	for _, x := range l {
		seen[x.Addr().String()] = true
	}
	if len(seen) != len(l) {
		f.t.Errorf("%d leases have %d addresses", len(l), len(seen))
	}
}

// restart has so many machines ask for the leases that they hold, as after a
// restart of their shims.
func (f *fleet) restart(n int) {
	all := make([]time.Duration, n*guests)
	var next atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f.machineOf(fmt.Sprintf("machine-%05d", i), all[i*guests:(i+1)*guests])
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	f.report(fmt.Sprintf("restart of %d shims: %d leases confirmed in %s (%.0f/s), %s", n, len(all),
		took.Round(time.Millisecond), float64(len(all))/took.Seconds(), spread(all)))
}

// report prints what etcd needs.
func (f *fleet) report(what string) {
	rss := "?"
	if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.etcd.cmd.Process.Pid)); err == nil {
		for line := range strings.SplitSeq(string(data), "\n") {
			if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				rss = strings.TrimSpace(v)
			}
		}
	}
	var size int64
	_ = filepath.WalkDir(filepath.Join(f.etcd.dir, "data"), func(path string, d os.DirEntry, err error) error {
		if err == nil && filepath.Base(path) == "db" {
			if fi, err := d.Info(); err == nil {
				size = fi.Size()
			}
		}
		return nil
	})
	f.t.Logf("%s; etcd %s resident, %d MiB file", what, rss, size>>20)
}
