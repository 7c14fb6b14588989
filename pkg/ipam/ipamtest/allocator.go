package ipamtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// Small is a pool of four addresses: 192.0.2.2 to 192.0.2.5 of 192.0.2.0/29.
func Small() ipam.Pool {
	return ipam.SubnetPool("small", netip.MustParsePrefix("192.0.2.0/29"), netip.Addr{})
}

// Key returns the key of a container of network "small".
func Key(containerID string) ipam.Key {
	return ipam.Key{Network: "small", ContainerID: containerID, IfName: "eth0"}
}

// A step of a history: what is done, and the address or the error that it ends in.
type step struct {
	op   string // "add", "del"
	id   string
	want string // wanted address
	got  string // last byte of 192.0.2.x, or ""
	err  error
}

// Histories that show each rule of the package comment.
var histories = []struct {
	name  string
	why   string
	steps []step
}{
	{"NeverUsedFirst", "addresses that were never used come before released ones", []step{
		{op: "add", id: "a", got: "2"},
		{op: "del", id: "a"},
		{op: "add", id: "b", got: "3"},
		{op: "add", id: "c", got: "4"},
		{op: "add", id: "d", got: "5"},
		{op: "add", id: "e", got: "2"},
		{op: "add", id: "f", err: ipam.ErrExhausted},
	}},
	{"OldestReleasedFirst", "the address released longest ago comes first", []step{
		{op: "add", id: "a", got: "2"}, {op: "add", id: "b", got: "3"}, {op: "add", id: "c", got: "4"}, {op: "add", id: "d", got: "5"},
		{op: "del", id: "c"}, {op: "del", id: "a"}, {op: "del", id: "d"},
		{op: "add", id: "e", got: "4"}, {op: "add", id: "f", got: "2"}, {op: "add", id: "g", got: "5"},
		{op: "add", id: "h", err: ipam.ErrExhausted},
		{op: "del", id: "b"},
		{op: "add", id: "h", got: "3"},
	}},
	{"Sticky", "the same attachment gets the same address again", []step{
		{op: "add", id: "a", got: "2"}, {op: "add", id: "b", got: "3"},
		{op: "del", id: "a"}, {op: "del", id: "b"},
		{op: "add", id: "b", got: "3"}, {op: "add", id: "a", got: "2"},
	}},
	{"StickyTaken", "stickiness does not keep an address from others", []step{
		{op: "add", id: "a", got: "2"}, {op: "del", id: "a"},
		{op: "add", id: "b", got: "3"}, {op: "add", id: "c", got: "4"}, {op: "add", id: "d", got: "5"}, {op: "add", id: "e", got: "2"},
		{op: "del", id: "c"},
		{op: "add", id: "a", got: "4"},
	}},
	{"Idempotent", "a lease is given once; releasing what is not held is no error", []step{
		{op: "del", id: "a"},
		{op: "add", id: "a", got: "2"}, {op: "add", id: "a", got: "2"},
		{op: "del", id: "a"}, {op: "del", id: "a"},
	}},
	{"Wanted", "a wanted address is given, or refused with the reason; the cursor passes over it", []step{
		{op: "add", id: "a", want: "192.0.2.3", got: "3"},
		{op: "add", id: "b", want: "192.0.2.3", err: ipam.ErrTaken},
		{op: "add", id: "b", want: "192.0.2.1", err: ipam.ErrOutside},
		{op: "add", id: "b", want: "192.0.2.0", err: ipam.ErrOutside},
		{op: "add", id: "b", want: "192.0.2.6", err: ipam.ErrOutside},
		{op: "add", id: "b", want: "192.0.2.7", err: ipam.ErrOutside},
		{op: "add", id: "b", want: "192.0.2.8", err: ipam.ErrOutside},
		{op: "add", id: "b", want: "2001:db8::1", err: ipam.ErrOutside},
		{op: "add", id: "b", got: "2"}, {op: "add", id: "c", got: "4"}, {op: "add", id: "d", got: "5"},
		{op: "add", id: "e", err: ipam.ErrExhausted},
	}},
	{"WantedReleased", "a released address may be wanted, by whomever", []step{
		{op: "add", id: "a", got: "2"}, {op: "del", id: "a"},
		{op: "add", id: "b", want: "192.0.2.2", got: "2"},
		{op: "add", id: "a", got: "3"},
		{op: "add", id: "b", want: "192.0.2.2", got: "2"},
		{op: "add", id: "b", want: "192.0.2.4", err: ipam.ErrConflict},
	}},
}

// TestAllocator tests the rules of package ipam on stores that open makes.
func TestAllocator(t *testing.T, open func(t *testing.T) ipam.Store) {
	for _, h := range histories {
		t.Run(h.name, func(t *testing.T) {
			s := open(t)
			a := ipam.New(s, ipam.Config{})
			for i, st := range h.steps {
				runStep(t, a, i, st)
			}
			CheckStore(t, s)
			closeAll(t, a)
			if t.Failed() {
				t.Logf("the rule: %s", h.why)
			}
		})
	}
	t.Run("Race", func(t *testing.T) { testRace(t, open(t)) })
	t.Run("Networks", func(t *testing.T) { testNetworks(t, open(t)) })
	t.Run("Bounded", func(t *testing.T) { testBounded(t, open(t)) })
	t.Run("TwoPools", func(t *testing.T) { testTwoPools(t, open(t)) })
	t.Run("ReleaseContainer", func(t *testing.T) { testReleaseContainer(t, open(t)) })
	t.Run("LayoutChange", func(t *testing.T) { testLayoutChange(t, open(t)) })
}

func runStep(t *testing.T, a *ipam.Allocator, i int, st step) {
	t.Helper()
	if st.op == "del" {
		if err := a.Release(context.Background(), Key(st.id)); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if _, err := a.Lookup(context.Background(), Key(st.id)); !errors.Is(err, ipam.ErrNotFound) {
			t.Fatalf("step %d: lookup after release: %v", i, err)
		}
		return
	}
	req := ipam.Request{Key: Key(st.id), Pools: []ipam.Pool{Small()}}
	if st.want != "" {
		req.Want = []netip.Addr{netip.MustParseAddr(st.want)}
	}
	lease, err := a.Allocate(context.Background(), req)
	if !errors.Is(err, st.err) {
		t.Fatalf("step %d: allocate: error %v, want %v", i, err, st.err)
	}
	if st.err != nil {
		return
	}
	if want := "192.0.2." + st.got + "/29"; lease.Addr().String() != want {
		t.Fatalf("step %d: allocate %s: got %s, want %s", i, st.id, lease.Addr(), want)
	}
	again, err := a.Lookup(context.Background(), Key(st.id))
	if err != nil || again.Addr() != lease.Addr() || !again.Created.Equal(lease.Created) {
		t.Fatalf("step %d: lookup: got %+v, %v, want %+v", i, again, err, lease)
	}
}

// CheckStore fails the test unless the records of the store agree.
func CheckStore(t testing.TB, s ipam.Store) {
	t.Helper()
	if err := s.Transact(context.Background(), ipam.ReadOnly, ipam.Verify); err != nil {
		t.Errorf("Verify: %v", err)
	}
}

func closeAll(t *testing.T, a *ipam.Allocator) {
	t.Helper()
	if err := a.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// add allocates and fails the test when that fails.
func add(t *testing.T, a *ipam.Allocator, req ipam.Request) ipam.Lease {
	t.Helper()
	lease, err := a.Allocate(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

// testRace has many attachments ask at once: each gets an address of its own.
func testRace(t *testing.T, s ipam.Store) {
	a := ipam.New(s, ipam.Config{})
	defer closeAll(t, a)
	pool := ipam.SubnetPool("small", netip.MustParsePrefix("192.0.2.0/26"), netip.Addr{})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			req := ipam.Request{Key: Key(fmt.Sprint(i)), Pools: []ipam.Pool{pool}}
			if _, err := a.Allocate(context.Background(), req); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	leases, err := a.List(context.Background(), "small")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Prefix]bool{}
	for _, l := range leases {
		seen[l.Addr()] = true
	}
	if len(leases) != 32 || len(seen) != 32 {
		t.Errorf("%d leases with %d addresses, want 32", len(leases), len(seen))
	}
	CheckStore(t, s)
}

// testNetworks has two networks with the same subnet and names that begin alike.
func testNetworks(t *testing.T, s ipam.Store) {
	a := ipam.New(s, ipam.Config{})
	defer closeAll(t, a)
	for _, network := range []string{"n", "n2", "n"} {
		key := ipam.Key{Network: network, ContainerID: "c", IfName: "eth0"}
		p := ipam.SubnetPool(network, netip.MustParsePrefix("192.0.2.0/24"), netip.Addr{})
		if l := add(t, a, ipam.Request{Key: key, Pools: []ipam.Pool{p}}); l.Addr().String() != "192.0.2.2/24" {
			t.Errorf("network %s: got %s", network, l.Addr())
		}
	}
	for network, want := range map[string]int{"": 2, "n": 1, "n2": 1, "none": 0} {
		if l, err := a.List(context.Background(), network); err != nil || len(l) != want {
			t.Errorf("List(%q): %d leases, %v, want %d", network, len(l), err, want)
		}
	}
	if err := a.Forget(context.Background(), "n"); !errors.Is(err, ipam.ErrConflict) {
		t.Errorf("Forget with a lease: %v", err)
	}
	key := ipam.Key{Network: "n", ContainerID: "c", IfName: "eth0"}
	if err := errors.Join(a.Release(context.Background(), key), a.Forget(context.Background(), "n")); err != nil {
		t.Error(err)
	}
	if l, err := a.List(context.Background(), ""); err != nil || len(l) != 1 || l[0].Network != "n2" {
		t.Errorf("after Forget: %v, %v", l, err)
	}
	CheckStore(t, s)
}

// testBounded remembers two released addresses only: the others are found again
// by the cursor's next round.
func testBounded(t *testing.T, s ipam.Store) {
	a := ipam.New(s, ipam.Config{MaxReleased: 2})
	defer closeAll(t, a)
	for round := range 3 {
		for i := range 4 {
			add(t, a, ipam.Request{Key: Key(fmt.Sprint(round, i)), Pools: []ipam.Pool{Small()}})
		}
		u, err := a.Usage(context.Background(), Small())
		if err != nil || u.Held != 4 || u.Free != 0 {
			t.Fatalf("round %d: usage %+v, %v", round, u, err)
		}
		for i := range 4 {
			if err := a.Release(context.Background(), Key(fmt.Sprint(round, i))); err != nil {
				t.Fatal(err)
			}
		}
		u, err = a.Usage(context.Background(), Small())
		if err != nil || u != (ipam.Usage{Released: 2, Free: 4}) {
			t.Fatalf("round %d: usage %+v, %v", round, u, err)
		}
		CheckStore(t, s)
	}
}

// testTwoPools has a request for an IPv4 and an IPv6 address: both or none.
func testTwoPools(t *testing.T, s ipam.Store) {
	a := ipam.New(s, ipam.Config{})
	defer closeAll(t, a)
	six := ipam.SubnetPool("small", netip.MustParsePrefix("2001:db8::/64"), netip.Addr{})
	six.Name = "six"
	pools := []ipam.Pool{Small(), six}
	for i, want := range []string{"[192.0.2.2/29 2001:db8::2/64]", "[192.0.2.3/29 2001:db8::3/64]"} {
		l := add(t, a, ipam.Request{Key: Key(fmt.Sprint(i)), Pools: pools})
		if got := fmt.Sprint(l.Addrs); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	want := []netip.Addr{netip.MustParseAddr("192.0.2.4"), netip.MustParseAddr("2001:db8::2")}
	req := ipam.Request{Key: Key("x"), Pools: pools, Want: want}
	if _, err := a.Allocate(context.Background(), req); !errors.Is(err, ipam.ErrTaken) {
		t.Errorf("want an address that is taken: %v", err)
	}
	if l := add(t, a, ipam.Request{Key: Key("y"), Pools: pools, Want: want[:1]}); !slices.Contains(l.Addrs, netip.PrefixFrom(want[0], 29)) {
		t.Errorf("got %v: a refused request kept an address", l.Addrs)
	}
	CheckStore(t, s)
}

// testReleaseContainer releases all interfaces of a container and nobody else's,
// nor what another machine gave.
func testReleaseContainer(t *testing.T, s ipam.Store) {
	a, other := ipam.New(s, ipam.Config{}), ipam.New(s, ipam.Config{Machine: "other"})
	defer closeAll(t, a)
	key := func(id, ifname string) ipam.Key { return ipam.Key{Network: "small", ContainerID: id, IfName: ifname} }
	for _, k := range []ipam.Key{key("a", "eth0"), key("a", "eth1"), key("aa", "eth0")} {
		add(t, a, ipam.Request{Key: k, Pools: []ipam.Pool{Small()}})
	}
	add(t, other, ipam.Request{Key: key("a", "eth2"), Pools: []ipam.Pool{Small()}})
	for range 2 {
		got, err := a.ReleaseContainer(context.Background(), "small", "a")
		if err != nil {
			t.Fatal(err)
		}
		left, err := a.List(context.Background(), "")
		if err != nil || len(left) != 2 || left[0].Key != key("a", "eth2") || left[1].Key != key("aa", "eth0") {
			t.Errorf("released %v, left %+v, %v", got, left, err)
		}
		CheckStore(t, s)
	}
	if l := add(t, a, ipam.Request{Key: key("a", "eth1"), Pools: []ipam.Pool{Small()}}); l.Addr().String() != "192.0.2.3/29" {
		t.Errorf("a/eth1 got %s again, want what it had", l.Addr())
	}
	if _, err := a.ReleaseContainer(context.Background(), "small", ""); !errors.Is(err, ipam.ErrInvalid) {
		t.Errorf("release of no container: %v", err)
	}
}

// testLayoutChange excludes an address and lets it in again.
func testLayoutChange(t *testing.T, s ipam.Store) {
	a := ipam.New(s, ipam.Config{})
	defer closeAll(t, a)
	narrow := Small()
	narrow.Exclude = []netip.Prefix{netip.MustParsePrefix("192.0.2.2/32"), netip.MustParsePrefix("192.0.2.4/32")}
	for i, st := range []struct {
		pool ipam.Pool
		id   string
		got  string
	}{{narrow, "a", "192.0.2.3/29"}, {narrow, "b", "192.0.2.5/29"}, {Small(), "c", "192.0.2.2/29"}, {Small(), "d", "192.0.2.4/29"}} {
		if l := add(t, a, ipam.Request{Key: Key(st.id), Pools: []ipam.Pool{st.pool}}); l.Addr().String() != st.got {
			t.Errorf("step %d: got %s, want %s", i, l.Addr(), st.got)
		}
	}
	// An address that the pool does not give any more is not given when released.
	for _, id := range []string{"d", "a"} {
		if err := a.Release(context.Background(), Key(id)); err != nil {
			t.Fatal(err)
		}
	}
	if l := add(t, a, ipam.Request{Key: Key("e"), Pools: []ipam.Pool{narrow}}); l.Addr().String() != "192.0.2.3/29" {
		t.Errorf("got %s", l.Addr())
	}
	CheckStore(t, s)
}
