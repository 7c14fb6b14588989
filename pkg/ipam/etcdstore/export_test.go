package etcdstore

import (
	"context"
	"fmt"

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

// Crash ends the store as a crash of the process would: it gives no word.
func (s *Store) Crash() {
	s.member.mu.Lock()
	s.member.replaced = true
	s.member.mu.Unlock()
}
