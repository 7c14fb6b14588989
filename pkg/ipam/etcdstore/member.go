package etcdstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// An Event says what became of the machine's membership.
type Event struct {
	Kind EventKind
	Err  error  // of Down and Replaced
	What string // of Reaped: the machine
	N    int    // of Reaped: how many leases were freed
}

// An EventKind is the kind of an Event.
type EventKind string

// The kinds of events.
const (
	Up       EventKind = "up"       // the machine is known to be alive again
	Down     EventKind = "down"     // etcd did not answer; told once
	Rejoined EventKind = "rejoined" // the grace was over, leases may have been freed
	Replaced EventKind = "replaced" // another process is this machine now
	Reaped   EventKind = "reaped"   // leases of a dead machine were freed
)

// A member keeps the store's machine alive in etcd with two leases: one that
// ends a TTL after the last sign of life, and one that ends a grace later. So
// etcd counts the times, and no clock of a machine matters.
type member struct {
	s    *Store
	turn chan struct{} // holds a token while the machine is being registered

	mu          sync.Mutex       // guards all following fields
	alive, held clientv3.LeaseID // 0: not registered
	tried       clientv3.LeaseID // the held of a registration whose answer was lost
	joined      bool             // registered once
	replaced    bool
	heldSign    time.Time // of the last sign for held
	down        bool
}

// A machineRecord is the value of a machine's keys, for people.
type machineRecord struct {
	Machine string    `json:"machine"`
	Since   time.Time `json:"since"`
}

func newMember(s *Store) *member { return &member{s: s, turn: make(chan struct{}, 1)} }

// run gives a sign of life now and three times per TTL, until the store closes.
func (m *member) run() {
	every := m.s.cfg.TTL / 3
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(m.s.ctx, min(every, m.s.cfg.Timeout))
		err := m.sign(ctx)
		cancel()
		m.tell(err)
		select {
		case <-m.s.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tell tells of changes between up and down.
func (m *member) tell(err error) {
	m.mu.Lock()
	changed := m.down != (err != nil)
	m.down = err != nil
	m.mu.Unlock()
	switch {
	case !changed || m.s.ctx.Err() != nil:
	case errors.Is(err, ErrReplaced):
		m.s.event(Event{Kind: Replaced, Err: err})
	case err != nil:
		m.s.event(Event{Kind: Down, Err: m.s.unavailable("keep alive", err)})
	default:
		m.s.event(Event{Kind: Up})
	}
}

func (s *Store) event(e Event) {
	if s.cfg.OnEvent != nil {
		s.cfg.OnEvent(e)
	}
}

// leases returns the machine's leases, 0 where it is not registered.
func (m *member) leases() (alive, held clientv3.LeaseID, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.replaced {
		return 0, 0, ErrReplaced
	}
	return m.alive, m.held, nil
}

// sign gives a sign of life, and registers the machine where its leases are over.
func (m *member) sign(ctx context.Context) error {
	alive, held, err := m.leases()
	if err != nil {
		return err
	}
	if err := m.s.connect(ctx); err != nil {
		return err
	}
	if held == 0 {
		return m.register(ctx, held)
	}
	m.mu.Lock()
	heldDue := time.Since(m.heldSign) >= m.s.cfg.Grace/6 // else two questions each time
	m.mu.Unlock()
	err = m.keep(ctx, alive)
	if err == nil && heldDue {
		if err = m.keep(ctx, held); err == nil {
			m.mu.Lock()
			m.heldSign = time.Now()
			m.mu.Unlock()
		}
	}
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return m.register(ctx, held)
	}
	return err
}

func (m *member) keep(ctx context.Context, lease clientv3.LeaseID) error {
	return m.s.route.persist(ctx, m.s.cfg.Timeout, func(ctx context.Context) error {
		_, err := m.s.client.KeepAliveOnce(ctx, lease)
		return err
	})
}

// register puts the machine's keys under new leases, unless somebody did since
// the caller saw held.
func (m *member) register(ctx context.Context, seen clientv3.LeaseID) error {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, held, err := m.leases(); err != nil || held != seen {
		return err
	}
	alive, err := m.grant(ctx, m.s.cfg.TTL)
	if err != nil {
		return err
	}
	held, err := m.grant(ctx, m.s.cfg.TTL+m.s.cfg.Grace)
	if err != nil {
		return err
	}
	won, empty, err := m.takePlace(ctx, alive, held)
	if err != nil {
		return err
	}
	m.mu.Lock()
	rejoined := won && m.joined && empty
	if won {
		m.alive, m.held, m.joined, m.heldSign = alive, held, true, time.Now()
	} else {
		m.replaced = true
	}
	m.mu.Unlock()
	if rejoined {
		m.s.event(Event{Kind: Rejoined})
	}
	if !won {
		return ErrReplaced
	}
	return nil
}

func (m *member) grant(ctx context.Context, d time.Duration) (clientv3.LeaseID, error) {
	var id clientv3.LeaseID
	err := m.s.route.persist(ctx, m.s.cfg.Timeout, func(ctx context.Context) error {
		resp, err := m.s.client.Grant(ctx, int64((d+time.Second-1)/time.Second))
		if err == nil {
			id = resp.ID
		}
		return err // a grant whose answer is lost ends by itself
	})
	return id, err
}

// placeTries is how often a process that registers for the first time tries to take
// the place of the one before it, which may be renewing its own just then.
const placeTries = 4

// takePlace puts the machine's keys under the leases, and reports whether it could,
// and whether the place was empty.
func (m *member) takePlace(ctx context.Context, alive, held clientv3.LeaseID) (won, empty bool, err error) {
	m.mu.Lock()
	tries := placeTries
	if m.joined {
		tries = 1 // who has the place now came later
	}
	m.mu.Unlock()
	for ; tries > 0 && !won && err == nil; tries-- {
		var place clientv3.Cmp
		if place, empty, err = m.place(ctx); err != nil {
			break
		}
		m.mu.Lock()
		m.tried = held
		m.mu.Unlock()
		won, err = m.putKeys(ctx, place, alive, held)
	}
	return won, empty, err
}

// place returns the condition under which the machine's place may be taken, and
// whether it is empty. A process that registers for the first time takes the
// place of the one before it; after that only one that is empty or still its own.
func (m *member) place(ctx context.Context) (cond clientv3.Cmp, empty bool, err error) {
	key := m.s.keys.held(m.s.cfg.Machine)
	resp, err := m.s.get(ctx, key)
	if err != nil {
		return cond, false, err
	}
	free := clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	if len(resp.Kvs) == 0 {
		return free, true, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	lease := clientv3.LeaseID(resp.Kvs[0].Lease)
	if m.joined && lease == m.tried {
		m.held = lease // of a registration whose answer was lost
	}
	if m.joined && lease != m.held {
		return free, false, nil
	}
	return clientv3.Compare(clientv3.LeaseValue(key), "=", lease), false, nil
}

func (m *member) putKeys(ctx context.Context, place clientv3.Cmp, alive, held clientv3.LeaseID) (won bool, err error) {
	k, name := m.s.keys, m.s.cfg.Machine
	value, err := json.Marshal(machineRecord{Machine: name, Since: time.Now().UTC()})
	if err != nil {
		return false, err
	}
	var resp *clientv3.TxnResponse
	err = m.s.route.once(ctx, m.s.cfg.Timeout, func(ctx context.Context) (err error) {
		resp, err = m.s.client.Txn(ctx).If(place).Then(
			clientv3.OpPut(k.alive(name), string(value), clientv3.WithLease(alive)),
			clientv3.OpPut(k.held(name), string(value), clientv3.WithLease(held)),
			clientv3.OpPut(k.machine(name), string(value)),
		).Commit()
		return err
	})
	if err != nil {
		return false, err
	}
	return resp.Succeeded, nil
}

// guard returns the condition that the machine is a member as this process
// registered it, which it does if need be.
func (m *member) guard(ctx context.Context) (guard, error) {
	_, held, err := m.leases()
	if err == nil && held == 0 {
		if err = m.register(ctx, held); err == nil {
			_, held, err = m.leases()
		}
	}
	if err != nil {
		return guard{}, fmt.Errorf("register machine %s: %w", m.s.cfg.Machine, err)
	}
	key := m.s.keys.held(m.s.cfg.Machine)
	return guard{
		cmp:    clientv3.Compare(clientv3.LeaseValue(key), "=", held),
		key:    key,
		failed: func(kv *mvccpb.KeyValue) error { return m.check(held, kv) },
	}, nil
}

// check looks, after a conflict, at the machine's key as it is. Where its lease is
// over, the next attempt registers anew.
func (m *member) check(held clientv3.LeaseID, kv *mvccpb.KeyValue) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.held != held || kv != nil && kv.Lease == int64(held):
		return nil
	case kv == nil:
		m.held, m.alive = 0, 0
		return nil
	case kv.Lease == int64(m.tried): // done after all
		m.held = m.tried
		return nil
	}
	m.replaced = true
	return ErrReplaced
}

// leave lets the others know at once that the shim is gone. The grace begins.
func (m *member) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.alive == 0 || m.replaced {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(time.Second, m.s.cfg.Timeout))
	defer cancel()
	_, _ = m.s.client.Revoke(ctx, m.alive) // else it ends by itself
}
