package etcdstore

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// The layout, for its tests.
type Layout = layout

func NewLayout(prefix string) Layout                            { return layout{prefix} }
func (l layout) Encode(t ipam.Table, key string) string         { return l.encode(t, key) }
func (l layout) Decode(k string) (ipam.Table, string, bool)     { return l.decode(k) }
func (l layout) Held(m string) string                           { return l.held(m) }
func (l layout) Skip(t ipam.Table, k string) string             { return l.skip(t, k) }
func (l layout) ScanRange(t ipam.Table, p string) (f, e string) { f, e, _ = l.scanRange(t, p); return }

// Lose makes a commit that puts value under the key n NUL k, as if its answer
// was lost: after it was done, if do says so, and with later commits by others
// behind it. It returns what settling found, and whether the commit can still
// happen afterwards.
func Lose(ctx context.Context, s *Store, value string, do bool, later int) (found string, happens bool, err error) {
	snap := s.snapshot(ctx)
	key := "n\x00k"
	if _, err := snap.get(ipam.TableLeases, key); err != nil {
		return "", false, err
	}
	cs := changes{s.keys.encode(ipam.TableLeases, key): {table: ipam.TableLeases, key: key, value: []byte(value)}}
	c, err := newCommit("lost", snap, cs, nil)
	if err != nil {
		return "", false, err
	}
	if do {
		if out, _, err := c.do(ctx); out != committed {
			return "", false, fmt.Errorf("outcome %d: %w", out, err)
		}
	}
	for range later {
		err := s.Transact(ctx, ipam.ReadWrite, func(tx ipam.Tx) error { return tx.Put(ipam.TableLeases, []byte("n\x00other"), nil) })
		if err != nil {
			return "", false, err
		}
	}
	out, err := c.settle(ctx, "fence")
	if err != nil {
		return "", false, err
	}
	again, _, err := c.do(ctx)
	return map[outcome]string{committed: "done", conflict: "not done"}[out], again == committed, err
}

// Endpoints are the members that the store asks.
func (s *Store) Endpoints() []string { return s.cfg.Endpoints }

// Current is the member that the store asks now.
func (s *Store) Current() string {
	_, endpoint := s.route.current()
	return endpoint
}

// A Member registers a machine by hand.
type Member struct{ m *member }

// NewMember returns the member of a machine in a store that has none. Each
// transaction of etcd runs in round, if that is not nil.
func NewMember(s *Store, machine string, round func(do func() error) error) Member {
	s.cfg.Machine = machine
	if round != nil {
		s.client.KV = roundKV{s.client.KV, round}
	}
	return Member{newMember(s)}
}

// Register registers the machine, again if it is.
func (m Member) Register(ctx context.Context) error {
	_, held, err := m.m.leases()
	if err != nil {
		return err
	}
	return m.m.register(ctx, held)
}

type roundKV struct {
	clientv3.KV
	round func(do func() error) error
}

func (k roundKV) Txn(ctx context.Context) clientv3.Txn { return roundTxn{k.KV.Txn(ctx), k.round} }

type roundTxn struct {
	clientv3.Txn
	round func(do func() error) error
}

func (t roundTxn) If(cs ...clientv3.Cmp) clientv3.Txn {
	return roundTxn{t.Txn.If(cs...), t.round}
}

func (t roundTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	return roundTxn{t.Txn.Then(ops...), t.round}
}

func (t roundTxn) Commit() (resp *clientv3.TxnResponse, err error) {
	err = t.round(func() (err error) {
		resp, err = t.Txn.Commit()
		return err
	})
	return resp, err
}

// Crash ends the store as a crash of the process would: it gives no word.
func (s *Store) Crash() {
	s.member.mu.Lock()
	s.member.replaced = true
	s.member.mu.Unlock()
}
