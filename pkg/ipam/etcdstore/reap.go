package etcdstore

import (
	"context"
	"errors"
	"math/rand/v2"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// errAlive says that a machine came back before its leases were freed.
var errAlive = errors.New("machine is back")

// A reaper frees the leases of machines whose grace is over. All machines have
// one; the one whose key is in etcd works.
type reaper struct {
	s *Store
	m *member
}

// run looks twice per TTL, at random times, so that a fleet does not ask at once.
func (r *reaper) run() {
	for {
		half := r.s.cfg.TTL / 2
		if !sleep(r.s.ctx, half/2+rand.N(half)) {
			return
		}
		// Errors are the next round's: etcd is away, or the machine came back.
		if ok, err := r.elected(); err == nil && ok {
			_ = r.round()
		}
	}
}

// elected reports whether this machine is the one that reaps. Only where none is
// does it write.
func (r *reaper) elected() (bool, error) {
	alive, _, err := r.m.leases()
	if err != nil || alive == 0 {
		return false, err
	}
	ctx, cancel := r.s.request()
	defer cancel()
	key := r.s.keys.reaper()
	// Serializable: any member may answer, so that a fleet does not ask the leader.
	resp, err := r.s.get(ctx, key, clientv3.WithSerializable())
	if err != nil {
		return false, err
	}
	if len(resp.Kvs) > 0 {
		return resp.Kvs[0].Lease == int64(alive), nil
	}
	put, err := r.s.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, r.s.cfg.Machine, clientv3.WithLease(alive))).Commit()
	return err == nil && put.Succeeded, err
}

// round frees the leases of all machines that are dead now.
func (r *reaper) round() error {
	dead, err := r.dead()
	if err != nil || len(dead) == 0 {
		return err
	}
	leases := map[string][]ipam.Key{}
	err = r.s.walk(func(l ipam.Lease) {
		if dead[l.Machine] {
			leases[l.Machine] = append(leases[l.Machine], l.Key)
		}
	})
	if err != nil {
		return err
	}
	for name := range dead {
		if err := r.bury(name, leases[name]); err != nil && !errors.Is(err, errAlive) {
			return err
		}
	}
	return nil
}

// dead returns the machines that have a record, and whose grace is over.
func (r *reaper) dead() (map[string]bool, error) {
	ctx, cancel := r.s.request()
	defer cancel()
	k := r.s.keys
	all, err := r.s.get(ctx, k.machines(), clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	held, err := r.s.get(ctx, k.heldAll(), clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	dead := map[string]bool{}
	for _, kv := range all.Kvs {
		dead[string(kv.Key[len(k.machines()):])] = true
	}
	for _, kv := range held.Kvs {
		delete(dead, string(kv.Key[len(k.heldAll()):]))
	}
	return dead, nil
}

// bury releases the leases of a dead machine, each unless it has come back, and
// deletes its record.
func (r *reaper) bury(name string, keys []ipam.Key) error {
	held := r.s.keys.held(name)
	still := guard{
		cmp: clientv3.Compare(clientv3.CreateRevision(held), "=", 0),
		key: held,
		failed: func(kv *mvccpb.KeyValue) error {
			if kv != nil {
				return errAlive
			}
			return nil
		},
	}
	a := ipam.New(guarded{r.s, still}, ipam.Config{Machine: name})
	for _, key := range keys {
		if err := a.Release(r.s.ctx, key); err != nil {
			return err
		}
		r.s.counted(func(c *Counters) { c.Reaped++ })
	}
	if len(keys) > 0 {
		r.s.event(Event{Kind: Reaped, What: name, N: len(keys)})
	}
	ctx, cancel := r.s.request()
	defer cancel()
	_, err := r.s.client.Txn(ctx).If(still.cmp).Then(clientv3.OpDelete(r.s.keys.machine(name))).Commit()
	return err
}

// guarded is a Store whose transactions have one more condition.
type guarded struct {
	*Store
	guard guard
}

// Transact implements ipam.Store.
func (g guarded) Transact(ctx context.Context, access ipam.Access, fn func(ipam.Tx) error) error {
	if access == ipam.ReadOnly {
		return g.Store.Transact(ctx, access, fn)
	}
	select {
	case g.writer <- struct{}{}:
		defer func() { <-g.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	inner, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	errs, err := g.attempts(inner, []*call{{fn: fn}}, []guard{g.guard})
	if err != nil {
		return err
	}
	return errs[0]
}

// Machines returns the machines of the fleet that may hold leases, and whether
// each is alive.
func (s *Store) Machines(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	if err := s.connect(ctx); err != nil {
		return nil, s.readError(ctx, err)
	}
	machines := map[string]bool{}
	for _, part := range []struct {
		prefix string
		alive  bool
	}{{s.keys.machines(), false}, {s.keys.aliveAll(), true}} {
		resp, err := s.get(ctx, part.prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			return nil, s.readError(ctx, err)
		}
		for _, kv := range resp.Kvs {
			machines[string(kv.Key[len(part.prefix):])] = part.alive
		}
	}
	return machines, nil
}
