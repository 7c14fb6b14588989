package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/etcdstore"
)

// TestScaleParts measures, each alone, what docs/scale.md adds up: bytes of a
// lease, of a watch and of a connection, and the time of the reaper. It runs where
// $VMNET_SCALE is set, with numbers of its own.
func TestScaleParts(t *testing.T) {
	if n, _ := strconv.Atoi(os.Getenv("VMNET_SCALE")); n <= 0 {
		t.Skip("set VMNET_SCALE")
	}
	t.Run("Bytes", scaleBytes)
	t.Run("Watch", scaleWatch)
	t.Run("Connections", scaleConnections)
	t.Run("Reaper", scaleReaper)
}

// inUse returns the bytes of etcd's file that hold something, after compaction.
func inUse(t *testing.T, endpoint string) int64 {
	t.Helper()
	c := raw(t, endpoint)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got, err := c.Get(ctx, "none")
	if err == nil {
		_, err = c.Compact(ctx, got.Header.Revision, clientv3.WithCompactPhysical())
	}
	if err == nil {
		_, err = c.Defragment(ctx, endpoint)
	}
	if err != nil && !strings.Contains(err.Error(), "compacted") {
		t.Fatal(err)
	}
	st, err := c.Status(ctx, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return st.DbSizeInUse
}

// many does so many things, 32 at a time.
func many(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := do(i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func scaleBytes(t *testing.T) {
	const n = 10_000
	endpoint, _ := single(t, fastDir(t))
	s := open(t, etcdstore.Config{Endpoints: []string{endpoint}, Machine: "machine-00000", Timeout: time.Minute})
	ready(t, s)
	a := ipam.New(s, ipam.Config{Machine: "machine-00000"})
	pool := fleetPool("10.0.0.0/8")
	before := inUse(t, endpoint)
	per := func(what string) {
		now := inUse(t, endpoint)
		t.Logf("%s: %d bytes each", what, (now-before)/n)
		before = now
	}
	id := func(i int) string { return fmt.Sprintf("%064x", i) }
	many(t, n, func(i int) error { _, err := a.Allocate(context.Background(), request(id(i), pool)); return err })
	per("leases")
	many(t, n, func(i int) error { return a.Release(context.Background(), request(id(i), pool).Key) })
	per("leases that were released, more")
}

func scaleWatch(t *testing.T) {
	const n = 500
	endpoint, _ := single(t, fastDir(t))
	s := open(t, etcdstore.Config{Endpoints: []string{endpoint}, Timeout: time.Minute})
	ready(t, s)
	a := ipam.New(s, ipam.Config{})
	pool := fleetPool("10.0.0.0/8")
	for _, network := range []string{"small", ""} {
		l := newLine(t, strings.TrimPrefix(endpoint, "unix://"))
		w := open(t, etcdstore.Config{Endpoints: []string{"http://" + l.l.Addr().String()}, Timeout: time.Minute})
		changes := make(chan etcdstore.Change, 2*n)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.Watch(ctx, network, func(c etcdstore.Change) { changes <- c }) }()
		next := func() {
			select {
			case <-changes:
			case <-time.After(time.Minute):
				t.Fatal("no change")
			}
		}
		id := func(i int) string { return fmt.Sprintf("%q%060x", network, i) }
		step := func(i int) {
			if _, err := a.Allocate(context.Background(), request(id(i), pool)); err != nil {
				t.Fatal(err)
			}
		}
		step(0)
		next()
		step(1) // the watch is there
		next()
		from := l.back.Load()
		for i := 2; i < n; i++ {
			step(i)
			next()
		}
		given := l.back.Load() - from
		for i := range n {
			if err := a.Release(context.Background(), request(id(i), pool).Key); err != nil {
				t.Fatal(err)
			}
			next()
		}
		t.Logf("watch of network %q: %d bytes for each lease given, %d released", network, given/(n-2), (l.back.Load()-from-given)/n)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// resident returns what a process has in memory, in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(v)[0])
			return kb << 10
		}
	}
	return 0
}

func scaleConnections(t *testing.T) {
	const n = 2000
	endpoint, p := single(t, fastDir(t))
	ready(t, open(t, etcdstore.Config{Endpoints: []string{endpoint}}))
	etcd, self := resident(t, p.cmd.Process.Pid), resident(t, os.Getpid())
	var mu sync.Mutex
	var stores []*etcdstore.Store
	many(t, n, func(i int) error {
		s, err := etcdstore.Open(etcdstore.Config{Endpoints: []string{endpoint}, Machine: fmt.Sprint("m", i), TTL: time.Minute, Timeout: time.Minute})
		if err != nil {
			return err
		}
		mu.Lock()
		stores = append(stores, s)
		mu.Unlock()
		return s.Transact(context.Background(), ipam.ReadOnly, func(tx ipam.Tx) error {
			_, err := tx.Get(ipam.TableLeases, []byte("none"))
			return err
		})
	})
	alive, err := stores[0].Machines(context.Background())
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d machines connected, %d known: %d bytes of etcd's memory each, %d of the client's", n, len(alive),
		(resident(t, p.cmd.Process.Pid)-etcd)/n, (resident(t, os.Getpid())-self)/n)
	many(t, n, func(i int) error { return stores[i].Close() })
}

func scaleReaper(t *testing.T) {
	const machines = 40
	endpoint, _ := single(t, fastDir(t))
	open1 := func(name string) *etcdstore.Store {
		s := open(t, etcdstore.Config{Endpoints: []string{endpoint}, Machine: name, TTL: 2 * time.Second, Grace: 3 * time.Second, Timeout: time.Minute})
		ready(t, s)
		return s
	}
	for i := range machines {
		name := fmt.Sprint("dead-", i)
		s := open1(name)
		a := ipam.New(s, ipam.Config{Machine: name})
		many(t, guests, func(g int) error {
			_, err := a.Allocate(context.Background(), request(fmt.Sprintf("%s-%032x", name, g), fleetPool("10.0.0.0/8")))
			return err
		})
		if err := s.Close(); err != nil { // as a crash but for the TTL
			t.Error(err)
		}
	}
	s := open1("alive")
	waitFor(t, "the first lease is released", time.Minute, func() bool { return s.Counters().Reaped > 0 })
	took := waitFor(t, "all are", 2*time.Minute, func() bool { return s.Counters().Reaped >= machines*guests })
	t.Logf("%d leases of %d dead machines released in %s, %s each", machines*guests, machines, took.Round(time.Millisecond), (took / machines / guests).Round(10*time.Microsecond))
}

// TestQuota fills etcd: what is there can be read, changes end in ErrUnavailable
// that says why, and go on by themselves when an operator made room.
func TestQuota(t *testing.T) {
	t.Parallel()
	dir := fastDir(t)
	endpoint, _ := single(t, dir, "--quota-backend-bytes", strconv.Itoa(8<<20))
	const timeout = time.Minute
	s := open(t, etcdstore.Config{Endpoints: []string{endpoint}, Machine: "m", Timeout: timeout})
	ready(t, s)
	a := ipam.New(s, ipam.Config{Machine: "m"})
	ctx := context.Background()
	if _, err := a.Allocate(ctx, request("before", fleetPool("10.0.0.0/24"))); err != nil {
		t.Fatal(err)
	}
	c := raw(t, endpoint)
	var rev int64
	for full := false; !full; { // other errors are of a machine that stalls
		put, err := c.Put(ctx, "/filler", strings.Repeat("x", 1<<20))
		if full = err != nil && strings.Contains(err.Error(), "space exceeded"); err == nil {
			rev = put.Header.Revision
		}
	}
	begin := time.Now()
	_, err := a.Allocate(ctx, request("full", fleetPool("10.0.0.0/24")))
	if !errors.Is(err, ipam.ErrUnavailable) || !strings.Contains(err.Error(), "space exceeded") || time.Since(begin) > timeout {
		t.Errorf("allocate in a full etcd: %v after %s", err, time.Since(begin))
	}
	if l, err := a.List(ctx, ""); err != nil || len(l) != 1 {
		t.Errorf("list: %v, %v", l, err)
	}
	if _, err := a.Allocate(ctx, request("before", fleetPool("10.0.0.0/24"))); err != nil {
		t.Errorf("the same request again, which writes nothing: %v", err)
	}
	if _, err := c.Compact(ctx, rev, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Defragment(ctx, endpoint); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "an allocation", time.Minute, func() bool {
		_, err := a.Allocate(ctx, request("full", fleetPool("10.0.0.0/24")))
		return err == nil
	})
}
