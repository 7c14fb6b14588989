package etcdstore_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/etcdstore"
	"github.com/vmnet-cni/vmnet/pkg/ipam/ipamtest"
)

// events collects what a store tells.
type events struct {
	mu  sync.Mutex
	all []etcdstore.Event
}

func (e *events) add(ev etcdstore.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

func (e *events) has(kind etcdstore.EventKind) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.all {
		if ev.Kind == kind {
			return true
		}
	}
	return false
}

// a machine of the fleet: its store and its allocator.
func machine(t testing.TB, endpoint, name string, ttl, grace time.Duration) (*etcdstore.Store, *ipam.Allocator, *events) {
	t.Helper()
	e := new(events)
	s := open(t, etcdstore.Config{Endpoints: []string{endpoint}, Machine: name, TTL: ttl, Grace: grace, OnEvent: e.add})
	return s, ipam.New(s, ipam.Config{Machine: name}), e
}

func raw(t testing.TB, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// leaseLeft returns for how long, at least, the lease of a key lasts.
func leaseLeft(t testing.TB, c *clientv3.Client, key string) time.Duration {
	t.Helper()
	resp, err := c.Get(t.Context(), key)
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("key %s: %v, %v", key, resp, err)
	}
	ttl, err := c.TimeToLive(t.Context(), clientv3.LeaseID(resp.Kvs[0].Lease))
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(ttl.TTL) * time.Second // whole ones that are left
}

// TestDeadMachine kills a machine: its leases stay for the grace, and are then
// released by another, and its addresses stay sticky.
func TestDeadMachine(t *testing.T) {
	t.Parallel()
	endpoint, _ := single(t, fastDir(t))
	const ttl, grace = 3 * time.Second, 6 * time.Second
	ctx := context.Background()
	a, onA, _ := machine(t, endpoint, "a", ttl, grace)
	b, onB, eventsB := machine(t, endpoint, "b", ttl, grace)
	ready(t, b)
	pool := fleetPool("10.0.0.0/24")
	alloc := func(on *ipam.Allocator, id string) (ipam.Lease, error) { return on.Allocate(ctx, request(id, pool)) }
	l1, err1 := alloc(onA, "one")
	l2, err2 := alloc(onB, "two")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if _, err := alloc(onB, "one"); !errors.Is(err, ipam.ErrConflict) {
		t.Errorf("allocate what another machine holds: %v", err)
	}
	if err := onB.Release(ctx, ipamtest.Key("one")); err != nil {
		t.Error(err)
	}
	if list, err := onB.List(ctx, ""); err != nil || len(list) != 2 || list[0].Machine != "a" || list[1].Machine != "b" {
		t.Errorf("the fleet's leases, seen from b: %+v, %v", list, err)
	}
	a.Crash()
	died := time.Now()
	graceLeft := leaseLeft(t, raw(t, endpoint), etcdstore.NewLayout(etcdstore.DefaultPrefix).Held("a"))
	state := func() (there, alive bool, err error) {
		m, err := b.Machines(ctx)
		alive, there = m["a"]
		return there, alive, err
	}
	waitFor(t, "a counts as dead", time.Minute, func() bool { _, alive, err := state(); return err == nil && !alive })
	t.Logf("dead after %s", time.Since(died))
	if _, err := onB.Lookup(ctx, ipamtest.Key("one")); err != nil && time.Since(died) < graceLeft {
		t.Errorf("lease within the grace: %v", err)
	}
	waitFor(t, "a is buried", time.Minute, func() bool { there, _, err := state(); return err == nil && !there })
	if took := time.Since(died); took < graceLeft {
		t.Errorf("freed after %s, its grace was %s yet", took, graceLeft)
	} else {
		t.Logf("freed after %s", took)
	}
	if !eventsB.has(etcdstore.Reaped) || b.Counters().Reaped != 1 {
		t.Errorf("events %+v, %+v", eventsB.all, b.Counters())
	}
	l, err := alloc(onB, "one")
	if err != nil || l.Addr() != l1.Addr() || l.Machine != "b" {
		t.Errorf("on b: %+v, %v, want the address %s again", l, err, l1.Addr())
	}
	if l, err := onB.Lookup(ctx, ipamtest.Key("two")); err != nil || l.Addr() != l2.Addr() {
		t.Errorf("b's own lease: %+v, %v", l, err)
	}
	ipamtest.CheckStore(t, b)
}

// TestReplaced opens a machine twice: the second has it, the first may not write.
func TestReplaced(t *testing.T) {
	t.Parallel()
	endpoint, _ := single(t, fastDir(t))
	ctx := context.Background()
	_, first, events := machine(t, endpoint, "a", 3*time.Second, time.Minute)
	pool := fleetPool("10.0.0.0/24")
	if _, err := first.Allocate(ctx, request("one", pool)); err != nil {
		t.Fatal(err)
	}
	_, second, _ := machine(t, endpoint, "a", 3*time.Second, time.Minute)
	if _, err := second.Allocate(ctx, request("two", pool)); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Allocate(ctx, request("three", pool)); !errors.Is(err, etcdstore.ErrReplaced) {
		t.Errorf("the process before: %v", err)
	}
	if err := second.Release(ctx, ipamtest.Key("one")); err != nil {
		t.Error(err)
	}
	if list, err := first.List(ctx, ""); err != nil || len(list) != 1 {
		t.Errorf("leases %v, %v", list, err)
	}
	waitFor(t, "the first is told", time.Minute, func() bool { return events.has(etcdstore.Replaced) })
}

// TestTakesPlace: a process that is new takes the place of the one before it, also
// while that renews its own.
func TestTakesPlace(t *testing.T) {
	t.Parallel()
	endpoint, _ := single(t, fastDir(t))
	s := open(t, etcdstore.Config{Endpoints: []string{endpoint}})
	ready(t, s)
	c, ctx := raw(t, endpoint), t.Context()
	renew := func() {
		lease, err := c.Grant(ctx, 600)
		if err == nil {
			_, err = c.Put(ctx, etcdstore.NewLayout(etcdstore.DefaultPrefix).Held("a"), "before", clientv3.WithLease(lease.ID))
		}
		if err != nil {
			t.Error(err)
		}
	}
	renew()
	rounds := 0
	m := etcdstore.NewMember(s, "a", func(do func() error) error {
		if rounds++; rounds < 3 {
			renew()
		}
		return do()
	})
	if err := m.Register(ctx); err != nil || rounds != 3 {
		t.Errorf("register: %v in %d rounds, want 3", err, rounds)
	}
}

// TestLostRegistrations: a machine whose registrations get no answer, some done and
// some not, is not taken for another process.
func TestLostRegistrations(t *testing.T) {
	t.Parallel()
	endpoint, _ := single(t, fastDir(t))
	s := open(t, etcdstore.Config{Endpoints: []string{endpoint}})
	ready(t, s)
	lost := context.DeadlineExceeded
	done, answers := true, true
	m := etcdstore.NewMember(s, "a", func(do func() error) error {
		if done {
			if err := do(); err != nil || answers {
				return err
			}
		}
		return lost
	})
	for i, round := range []struct {
		done, answers bool
	}{{true, true}, {true, false}, {false, false}, {false, false}, {true, false}, {true, true}} {
		done, answers = round.done, round.answers
		if err := m.Register(t.Context()); (err == nil) != round.answers || err != nil && !errors.Is(err, lost) {
			t.Errorf("round %d: %v", i, err)
		}
	}
}

// TestRejoin lets a machine's grace pass while it is cut off.
func TestRejoin(t *testing.T) {
	t.Parallel()
	endpoint, _ := single(t, fastDir(t))
	ctx := context.Background()
	s, a, events := machine(t, endpoint, "a", 3*time.Second, time.Minute)
	pool := fleetPool("10.0.0.0/24")
	if _, err := a.Allocate(ctx, request("one", pool)); err != nil {
		t.Fatal(err)
	}
	c := raw(t, endpoint)
	if _, err := c.Delete(ctx, etcdstore.NewLayout(etcdstore.DefaultPrefix).Held("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Allocate(ctx, request("two", pool)); err != nil {
		t.Errorf("after the grace: %v", err)
	}
	waitFor(t, "the machine is told", time.Minute, func() bool { return events.has(etcdstore.Rejoined) })
	ipamtest.CheckStore(t, s)
}

// TestWatchGoesOn has the member die that tells the changes.
func TestWatchGoesOn(t *testing.T) {
	t.Parallel()
	endpoint, _ := single(t, fastDir(t))
	ready(t, open(t, etcdstore.Config{Endpoints: []string{endpoint}}))
	to := strings.TrimPrefix(endpoint, "unix://")
	lines := map[string]*line{}
	for range 2 {
		l := newLine(t, to)
		lines["http://"+l.l.Addr().String()] = l
	}
	s := open(t, etcdstore.Config{Endpoints: slices.Collect(maps.Keys(lines)), Timeout: 8 * time.Second})
	_, a, _ := machine(t, endpoint, "a", 0, 0)
	add := func(id string) {
		if _, err := a.Allocate(t.Context(), request(id, fleetPool("10.0.0.0/24"))); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	changes, done := make(chan etcdstore.Change, 16), make(chan error, 1)
	go func() { done <- s.Watch(ctx, "", func(c etcdstore.Change) { changes <- c }) }()
	for _, id := range []string{"before", "after"} {
		add(id)
		select {
		case c := <-changes:
			if c.Lease.ContainerID != id {
				t.Errorf("change %+v, want of %s", c, id)
			}
		case err := <-done:
			t.Fatalf("watch: %v", err)
		case <-time.After(time.Minute):
			t.Fatalf("no change of %s", id)
		}
		if id == "before" {
			lines[s.Current()].close()
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch: %v", err)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	endpoint, _ := single(t, fastDir(t))
	s, a, _ := machine(t, endpoint, "a", 0, 0)
	_, b, _ := machine(t, endpoint, "b", 0, 0)
	ready(t, s)
	pool := fleetPool("10.0.0.0/24")
	bg := context.Background()
	if _, err := a.Allocate(bg, request("one", pool)); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"", "small"} {
		ctx, cancel := context.WithCancel(bg)
		changes := make(chan etcdstore.Change, 16)
		done := make(chan error, 1)
		go func() { done <- s.Watch(ctx, network, func(c etcdstore.Change) { changes <- c }) }()
		next := func() etcdstore.Change {
			select {
			case c := <-changes:
				return c
			case <-time.After(time.Minute):
				t.Fatal("no change")
				return etcdstore.Change{}
			}
		}
		if c := next(); c.Lease.ContainerID != "one" || c.Gone {
			t.Errorf("first %+v", c)
		}
		if _, err := b.Allocate(bg, request("two", pool)); err != nil {
			t.Fatal(err)
		}
		if c := next(); c.Lease.ContainerID != "two" || c.Gone || c.Lease.Machine != "b" {
			t.Errorf("second %+v", c)
		}
		if err := b.Release(bg, ipamtest.Key("two")); err != nil {
			t.Fatal(err)
		}
		if c := next(); c.Lease.ContainerID != "two" || !c.Gone {
			t.Errorf("third %+v", c)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: %v", err)
		}
	}
}
