package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/etcdstore"
	"github.com/vmnet-cni/vmnet/pkg/ipam/ipamtest"
)

// fleetPool is a network of a fleet.
func fleetPool(subnet string) ipam.Pool {
	return ipam.SubnetPool("small", netip.MustParsePrefix(subnet), netip.Addr{})
}

func request(id string, p ipam.Pool) ipam.Request {
	return ipam.Request{Key: ipamtest.Key(id), Pools: []ipam.Pool{p}}
}

// TestLostAnswer loses the answer of a commit in every way it can be lost.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	endpoint, _ := single(t, fastDir(t))
	prefix := prefixes()
	for _, c := range []struct {
		do    bool
		later int
		want  string
	}{{true, 0, "done"}, {true, 3, "done"}, {false, 0, "not done"}, {false, 3, "not done"}} {
		t.Run(fmt.Sprintf("done %v, %d later", c.do, c.later), func(t *testing.T) {
			s := open(t, etcdstore.Config{Endpoints: []string{endpoint}, Prefix: prefix()})
			ready(t, s)
			got, happens, err := etcdstore.Lose(context.Background(), s, "v", c.do, c.later)
			if err != nil || got != c.want {
				t.Errorf("found %q, %v, want %q", got, err, c.want)
			}
			if happens {
				t.Error("the commit could happen after it was settled")
			}
		})
	}
}

// TestConflict has stores of several processes change the same records: none of
// their changes may be lost, also those that only a scan would notice.
func TestConflict(t *testing.T) {
	t.Parallel()
	endpoint, _ := single(t, fastDir(t))
	const stores, each = 3, 20
	var wg sync.WaitGroup
	var all []*etcdstore.Store
	for range stores {
		s := open(t, etcdstore.Config{Endpoints: []string{endpoint}})
		all = append(all, s)
		ready(t, s)
	}
	for i, s := range all {
		wg.Go(func() {
			for j := range each {
				// The number of records is the new one's value: two with the
				// same would mean that one did not see the other.
				err := s.Transact(context.Background(), ipam.ReadWrite, func(tx ipam.Tx) error {
					n := 0
					prefix := []byte("n\x00")
					if j%2 == 0 {
						prefix = nil // all networks
					}
					if err := tx.Scan(ipam.TableAddrs, prefix, func(_, _ []byte) bool { n++; return true }); err != nil {
						return err
					}
					return tx.Put(ipam.TableAddrs, fmt.Appendf(nil, "n\x00%d.%d", i, j), fmt.Append(nil, n))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	err := all[0].Transact(context.Background(), ipam.ReadOnly, func(tx ipam.Tx) error {
		return tx.Scan(ipam.TableAddrs, nil, func(_, v []byte) bool { seen[string(v)] = true; return true })
	})
	if err != nil || len(seen) != stores*each {
		t.Errorf("%d different counts, %v, want %d", len(seen), err, stores*each)
	}
	for _, s := range all {
		t.Logf("%+v", s.Counters())
	}
}

// TestLarge makes transactions that are larger than what etcd takes as one list
// of operations.
func TestLarge(t *testing.T) {
	t.Parallel()
	endpoint, _ := single(t, fastDir(t))
	s := open(t, etcdstore.Config{Endpoints: []string{endpoint}})
	ready(t, s)
	ctx := context.Background()
	put := func(n int) error {
		return s.Transact(ctx, ipam.ReadWrite, func(tx ipam.Tx) error {
			for i := range n {
				if err := tx.Put(ipam.TableAddrs, fmt.Appendf(nil, "small\x00%06d", i), []byte("x")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for _, n := range []int{100, 101, 3600} {
		if err := put(n); err != nil {
			t.Errorf("%d records: %v", n, err)
		}
	}
	if err := put(3601); !errors.Is(err, etcdstore.ErrTooLarge) {
		t.Errorf("3601 records: %v", err)
	}
	a := ipam.New(s, ipam.Config{})
	if err := a.Forget(ctx, "small"); err != nil {
		t.Errorf("delete 3600 records: %v", err)
	}
	ipamtest.CheckStore(t, s)
}

// TestNarrowed lets a pool forget many released addresses at once, since it does
// not give them any more.
func TestNarrowed(t *testing.T) {
	t.Parallel()
	endpoint, _ := single(t, fastDir(t))
	s := open(t, etcdstore.Config{Endpoints: []string{endpoint}})
	ready(t, s)
	ctx := context.Background()
	a := ipam.New(s, ipam.Config{})
	wide := fleetPool("10.0.0.0/24")
	var wg sync.WaitGroup
	each := func(do func(id string) error) {
		for i := range 252 {
			wg.Go(func() {
				if err := do(fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	each(func(id string) error { _, err := a.Allocate(ctx, request(id, wide)); return err })
	each(func(id string) error { return a.Release(ctx, ipamtest.Key(id)) })
	ipamtest.CheckStore(t, s)
	narrow := wide
	narrow.Exclude = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/25"), netip.MustParsePrefix("10.0.0.128/26"), netip.MustParsePrefix("10.0.0.192/27")}
	last := ""
	for i := range 5 {
		l, err := a.Allocate(ctx, request(fmt.Sprint("new", i), narrow))
		if err != nil {
			t.Fatal(err)
		}
		last = l.Addr().String()
	}
	t.Logf("the last of five: %s; %+v", last, s.Counters())
	ipamtest.CheckStore(t, s)
}
