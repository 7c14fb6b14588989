package ipam_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/ipamtest"
)

// TestStickyAfterOthers: a name gets its address back after 300 others came and
// went through a /24, one after the other or all at once, whatever their names.
func TestStickyAfterOthers(t *testing.T) {
	for _, atOnce := range []int{1, 100, 251} {
		t.Run(fmt.Sprint(atOnce), func(t *testing.T) {
			s := ipam.NewMemoryStore()
			a := ipam.New(s, ipam.Config{})
			pools := []ipam.Pool{ipam.SubnetPool("small", netip.MustParsePrefix("192.0.2.0/24"), netip.Addr{})}
			come := func(id, sticky string) netip.Prefix {
				l, err := a.Allocate(context.Background(), ipam.Request{Key: ipamtest.Key(id), Pools: pools, StickyKey: sticky})
				if err != nil {
					t.Fatal(err)
				}
				return l.Addr()
			}
			leave := func(id string) {
				if err := a.Release(context.Background(), ipamtest.Key(id)); err != nil {
					t.Fatal(err)
				}
			}
			come("before", "")
			first := come("first", "web/eth0")
			leave("first")
			taken := false
			for i := range 300 + atOnce {
				if i >= atOnce {
					leave(fmt.Sprint(i - atOnce))
				}
				if i < 300 {
					taken = come(fmt.Sprint(i), "") == first || taken
				}
			}
			if !taken {
				t.Error("the address was given to none of 300, which shows nothing")
			}
			if got := come("second", "web/eth0"); got != first {
				t.Errorf("got %s, want %s", got, first)
			}
			ipamtest.CheckStore(t, s)
		})
	}
}

// TestStickyBounded: the names that were not used for the longest are forgotten.
func TestStickyBounded(t *testing.T) {
	s := ipam.NewMemoryStore()
	a := ipam.New(s, ipam.Config{MaxReleased: 3})
	visit := func(id string) netip.Prefix {
		l, err := a.Allocate(context.Background(), ipam.Request{Key: ipamtest.Key(id), Pools: []ipam.Pool{ipamtest.Small()}})
		if err == nil {
			err = a.Release(context.Background(), ipamtest.Key(id))
		}
		if err != nil {
			t.Fatal(err)
		}
		ipamtest.CheckStore(t, s)
		return l.Addr()
	}
	a2 := visit("a")
	for _, id := range []string{"b", "c", "a", "d"} { // b is forgotten, a was used since
		visit(id)
	}
	if got := visit("a"); got != a2 {
		t.Errorf("a got %s, want %s", got, a2)
	}
	for table, want := range map[ipam.Table]int{ipam.TableSticky: 3, ipam.TableMemory: 3} {
		n := 0
		err := s.Transact(context.Background(), ipam.ReadOnly, func(tx ipam.Tx) error {
			return tx.Scan(table, nil, func(_, _ []byte) bool { n++; return true })
		})
		if err != nil || n != want {
			t.Errorf("table %s: %d records, %v, want %d", table, n, err, want)
		}
	}
}

// TestOldStickyRecords: files of a time when a sticky key stood for an address
// alone are good, and the address is found.
func TestOldStickyRecords(t *testing.T) {
	s := ipam.NewMemoryStore()
	a := ipam.New(s, ipam.Config{})
	want := netip.MustParseAddr("192.0.2.4")
	err := s.Transact(context.Background(), ipam.ReadWrite, func(tx ipam.Tx) error {
		return tx.Put(ipam.TableSticky, []byte("small\x00\x00a/eth0\x00"), want.AsSlice())
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ipamtest.CheckStore(t, s)
		l, err := a.Allocate(context.Background(), ipam.Request{Key: ipamtest.Key("a"), Pools: []ipam.Pool{ipamtest.Small()}})
		if err != nil || l.Addr().Addr() != want {
			t.Errorf("got %s, %v, want %s", l.Addr(), err, want)
		}
		if err := a.Release(context.Background(), ipamtest.Key("a")); err != nil {
			t.Fatal(err)
		}
	}
	ipamtest.CheckStore(t, s)
}

// TestPoolsThatOverlap runs random histories over pools of one network that share
// addresses: an allocation succeeds while an address of its pool is free, whoever
// released it.
func TestPoolsThatOverlap(t *testing.T) {
	subnet := netip.MustParsePrefix("192.0.2.0/28")
	addr := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }
	pools := []ipam.Pool{ipam.SubnetPool("small", subnet, netip.Addr{})} // .2 to .13
	for _, r := range [][2]int{{2, 6}, {5, 9}} {
		pools = append(pools, ipam.Pool{Network: "small", Name: fmt.Sprint(r), Ranges: []ipam.Range{{Subnet: subnet, First: addr(r[0]), Last: addr(r[1])}}})
	}
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		s := ipam.NewMemoryStore()
		a := ipam.New(s, ipam.Config{})
		held := map[netip.Addr]string{}
		for range 300 {
			id, pool := fmt.Sprint(rnd.IntN(16)), pools[rnd.IntN(len(pools))]
			var have netip.Addr
			for addr, by := range held {
				if by == id {
					have = addr
				}
			}
			if have.IsValid() {
				if err := a.Release(context.Background(), ipamtest.Key(id)); err != nil {
					t.Fatal(err)
				}
				delete(held, have)
				continue
			}
			free := 0
			for n := range 16 {
				if pool.Reserved(addr(n)) == "" && held[addr(n)] == "" {
					free++
				}
			}
			l, err := a.Allocate(context.Background(), ipam.Request{Key: ipamtest.Key(id), Pools: []ipam.Pool{pool}})
			got := l.Addr().Addr()
			switch {
			case free == 0 && !errors.Is(err, ipam.ErrExhausted):
				t.Fatalf("seed %d: got %v, %v of a pool that has none", seed, l.Addrs, err)
			case free == 0:
				continue
			case err != nil:
				t.Fatalf("seed %d: %v, though %d are free", seed, err, free)
			case held[got] != "" || pool.Reserved(got) != "":
				t.Fatalf("seed %d: got %s of pool %s, held by %q", seed, got, pool, held[got])
			}
			held[got] = id
		}
		ipamtest.CheckStore(t, s)
	}
}

// TestPoolsOfOneRequestThatOverlap: each pool gives an address of its own, as long as
// there are two, wanted or just released by the other pool.
func TestPoolsOfOneRequestThatOverlap(t *testing.T) {
	subnet := netip.MustParsePrefix("192.0.2.0/28")
	addr := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }
	pool := func(name string, first, last byte) ipam.Pool {
		return ipam.Pool{Network: "small", Name: name, Ranges: []ipam.Range{{Subnet: subnet, First: addr(first), Last: addr(last)}}}
	}
	a, b := pool("a", 2, 3), pool("b", 2, 4)
	s := ipam.NewMemoryStore()
	al := ipam.New(s, ipam.Config{})
	both := func(id string, want ...netip.Addr) string {
		t.Helper()
		l, err := al.Allocate(t.Context(), ipam.Request{Key: ipamtest.Key(id), Pools: []ipam.Pool{a, b}, Want: want, Quarantine: time.Hour})
		if err != nil {
			t.Errorf("%s: %v", id, err)
		}
		return fmt.Sprint(l.Addrs)
	}
	one := func(id string, p ipam.Pool, want byte) {
		t.Helper()
		if _, err := al.Allocate(t.Context(), ipam.Request{Key: ipamtest.Key(id), Pools: []ipam.Pool{p}, Want: []netip.Addr{addr(want)}}); err != nil {
			t.Fatal(err)
		}
	}
	free := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			if err := al.Release(t.Context(), ipamtest.Key(id)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := both("wanted", addr(3)); got != "[192.0.2.3/28 192.0.2.2/28]" {
		t.Errorf("wanting .3: %s", got)
	}
	free("wanted")
	one("2", a, 2)
	one("3", a, 3)
	one("4", b, 4)
	free("2", "3", "4") // .2 is the oldest, and a's
	if got := both("next"); got != "[192.0.2.2/28 192.0.2.3/28]" {
		t.Errorf("of what was released: %s", got)
	}
	ipamtest.CheckStore(t, s)
}
