package etcdstore_test

import (
	"context"
	"errors"
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
	gone := func(what map[string]bool) func() bool {
		return func() bool {
			m, err := b.Machines(ctx)
			alive, there := m["a"]
			return err == nil && there == what["there"] && alive == what["alive"]
		}
	}
	waitFor(t, "a counts as dead", time.Minute, gone(map[string]bool{"there": true}))
	t.Logf("dead after %s", time.Since(died))
	if _, err := onB.Lookup(ctx, ipamtest.Key("one")); err != nil {
		t.Errorf("lease within the grace: %v", err)
	}
	waitFor(t, "a is buried", time.Minute, gone(map[string]bool{}))
	if took := time.Since(died); took < grace {
		t.Errorf("freed after %s", took)
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
	if !events.has(etcdstore.Rejoined) {
		t.Errorf("events %+v", events.all)
	}
	ipamtest.CheckStore(t, s)
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
