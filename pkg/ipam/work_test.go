package ipam_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/ipamtest"
)

// A countingStore counts the records that transactions touch.
type countingStore struct {
	ipam.Store
	touched int // since the counter was reset
	records map[ipam.Table]int
}

func newCountingStore() *countingStore {
	return &countingStore{Store: ipam.NewMemoryStore(), records: map[ipam.Table]int{}}
}

func (s *countingStore) Transact(ctx context.Context, access ipam.Access, fn func(ipam.Tx) error) error {
	return s.Store.Transact(ctx, access, func(tx ipam.Tx) error { return fn(countingTx{tx, s}) })
}

// all returns how many records there are.
func (s *countingStore) all() (n int) {
	for _, k := range s.records {
		n += k
	}
	return n
}

type countingTx struct {
	ipam.Tx
	s *countingStore
}

func (t countingTx) Get(table ipam.Table, key []byte) ([]byte, error) {
	t.s.touched++
	return t.Tx.Get(table, key)
}

func (t countingTx) Put(table ipam.Table, key, value []byte) error {
	t.s.touched++
	if old, _ := t.Tx.Get(table, key); old == nil {
		t.s.records[table]++
	}
	return t.Tx.Put(table, key, value)
}

func (t countingTx) Delete(table ipam.Table, key []byte) error {
	t.s.touched++
	if old, _ := t.Tx.Get(table, key); old != nil {
		t.s.records[table]--
	}
	return t.Tx.Delete(table, key)
}

func (t countingTx) Scan(table ipam.Table, prefix []byte, visit func(key, value []byte) bool) error {
	return t.Tx.Scan(table, prefix, func(k, v []byte) bool {
		t.s.touched++
		return visit(k, v)
	})
}

// The churn of TestWork and BenchmarkChurn: so many are held at a time.
const churnHeld = 1000

// largePools are a /64 and a /16.
func largePools() map[string]ipam.Pool {
	return map[string]ipam.Pool{
		"64": ipam.SubnetPool("small", netip.MustParsePrefix("fd00::/64"), netip.Addr{}),
		"16": ipam.SubnetPool("small", netip.MustParsePrefix("10.0.0.0/16"), netip.Addr{}),
	}
}

// churn allocates for the container i and releases for the one churnHeld before
// it. No container comes back.
func churn(tb testing.TB, a *ipam.Allocator, pools []ipam.Pool, i int) {
	tb.Helper()
	if _, err := a.Allocate(context.Background(), ipam.Request{Key: ipamtest.Key(fmt.Sprintf("%064x", i)), Pools: pools}); err != nil {
		tb.Fatal(err)
	}
	if i < churnHeld {
		return
	}
	if err := a.Release(context.Background(), ipamtest.Key(fmt.Sprintf("%064x", i-churnHeld))); err != nil {
		tb.Fatal(err)
	}
}

// operationsEnv sets how many allocations TestWork makes; 100000 with the default
// bound of what is remembered takes half a minute.
const operationsEnv = "VMNET_TEST_OPERATIONS"

// TestWork makes many allocations and releases in a /64 and in a /16: none
// touches more than a few records, and the store grows to its bound and no more.
func TestWork(t *testing.T) {
	const most = 40 // records that an allocation and a release touch
	ops, cfg := 20_000, ipam.Config{MaxReleased: 10_000}
	if n, err := strconv.Atoi(os.Getenv(operationsEnv)); err == nil && n > ops {
		ops, cfg = n, ipam.Config{}
	}
	settled := ops / 10 * 8
	for name, pool := range largePools() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newCountingStore()
			a := ipam.New(s, cfg)
			pools := []ipam.Pool{pool}
			worst, total, bound := 0, 0, 0
			for i := range ops {
				s.touched = 0
				churn(t, a, pools, i)
				worst, total = max(worst, s.touched), total+s.touched
				if i == settled {
					bound = s.all()
				}
				if s.touched > most {
					t.Fatalf("operation %d touched %d records, want at most %d", i, s.touched, most)
				}
			}
			// Each address, sticky key and release has one record in each of a few tables.
			if got := s.all(); got > bound+bound/100 || got > 5*ipam.DefaultMaxReleased {
				t.Errorf("%d records after %d operations, %d after %d", bound, settled, got, ops)
			}
			t.Logf("%d operations touched %d records at most, %.1f on average; %d records in the end", ops, worst, float64(total)/float64(ops), s.all())
			ipamtest.CheckStore(t, s)
		})
	}
}

// BenchmarkChurn is the work of TestWork by the clock; -benchtime 100000x makes
// it as long.
func BenchmarkChurn(b *testing.B) {
	for name, pool := range largePools() {
		b.Run(name, func(b *testing.B) {
			a := ipam.New(ipam.NewMemoryStore(), ipam.Config{})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				churn(b, a, []ipam.Pool{pool}, i)
			}
		})
	}
}
