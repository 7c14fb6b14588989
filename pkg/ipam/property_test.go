package ipam_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/ipamtest"
)

// A model is what an allocator should hold, kept the simple way.
type model struct {
	held map[string]netip.Addr // by container ID
	last map[string]netip.Addr // last address released, by container ID
	free []netip.Addr          // released, the oldest first
	used map[netip.Addr]bool
	back map[netip.Addr]time.Time // when released
	now  time.Time

	quarantine time.Duration
	whole      bool // no address in quarantine is given
}

// TestHistories runs random histories against the model: never two holders,
// never outside, success while an address is free, sticky while free, never used
// before released, the oldest released first, in quarantine only where nothing
// else is free, or not at all.
func TestHistories(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { history(t, seed, 300) })
	}
}

func history(t *testing.T, seed uint64, steps int) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	pool := ipam.SubnetPool("small", netip.MustParsePrefix("192.0.2.0/28"), netip.MustParseAddr("192.0.2.3"))
	pool.Exclude = []netip.Prefix{netip.MustParsePrefix("192.0.2.8/31")}
	s := ipam.NewMemoryStore()
	m := model{
		held: map[string]netip.Addr{}, last: map[string]netip.Addr{}, used: map[netip.Addr]bool{}, back: map[netip.Addr]time.Time{},
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), quarantine: time.Duration(seed%4) * time.Minute, whole: seed%8 > 3,
	}
	a := ipam.New(s, ipam.Config{Now: func() time.Time { return m.now }})
	for range steps {
		m.now = m.now.Add(time.Duration(rnd.IntN(20)) * time.Second)
		id := fmt.Sprint(rnd.IntN(16))
		switch {
		case rnd.IntN(3) == 0:
			m.release(t, a, id)
		case rnd.IntN(5) == 0:
			m.want(t, a, pool, id, netip.AddrFrom4([4]byte{192, 0, 2, byte(rnd.IntN(17))}))
		default:
			m.allocate(t, a, pool, id)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	ipamtest.CheckStore(t, s)
	leases, err := a.List(context.Background(), "small")
	if err != nil || len(leases) != len(m.held) {
		t.Errorf("%d leases, %v, want %d", len(leases), err, len(m.held))
	}
	if u, err := a.Usage(context.Background(), pool); err != nil || u.Held != len(m.held) || u.Free != len(gives)-len(m.held) || u.Released != len(m.free) {
		t.Errorf("usage %+v, %v; held %d, released %d", u, err, len(m.held), len(m.free))
	}
}

// gives is what the pool of history gives: 16 addresses without .0, .3, .8, .9,
// .14 and .15.
var gives = func() (out []netip.Addr) {
	for _, n := range []byte{1, 2, 4, 5, 6, 7, 10, 11, 12, 13} {
		out = append(out, netip.AddrFrom4([4]byte{192, 0, 2, n}))
	}
	return out
}()

// expect returns the address that the package comment promises, and whether it
// is one in quarantine.
func (m *model) expect(id string) (a netip.Addr, early, ok bool) {
	if a, ok := m.held[id]; ok {
		return a, false, true
	}
	if a, ok := m.last[id]; ok && slices.Contains(m.free, a) {
		return a, false, true
	}
	for _, a := range gives {
		if !m.used[a] {
			return a, false, true
		}
	}
	if len(m.free) > 0 {
		early := m.now.Sub(m.back[m.free[0]]) < m.quarantine
		return m.free[0], early, !early || !m.whole
	}
	return netip.Addr{}, false, false
}

func (m *model) take(id string, a netip.Addr) {
	m.held[id], m.used[a] = a, true
	m.free = slices.DeleteFunc(m.free, func(f netip.Addr) bool { return f == a })
}

func (m *model) allocate(t *testing.T, a *ipam.Allocator, pool ipam.Pool, id string) {
	want, early, ok := m.expect(id)
	_, again := m.held[id]
	lease, err := a.Allocate(context.Background(), ipam.Request{
		Key: ipamtest.Key(id), Pools: []ipam.Pool{pool}, Quarantine: m.quarantine, WholeQuarantine: m.whole,
	})
	if !ok {
		if !errors.Is(err, ipam.ErrExhausted) {
			t.Errorf("allocate %s: %v, %v, want ErrExhausted", id, lease.Addrs, err)
		}
		return
	}
	if err != nil || lease.Addr() != netip.PrefixFrom(want, 28) || lease.Early != early && !again {
		t.Errorf("allocate %s: %v, early %t, %v, want %v, %t", id, lease.Addrs, lease.Early, err, want, early)
	}
	m.take(id, want)
}

func (m *model) want(t *testing.T, a *ipam.Allocator, pool ipam.Pool, id string, want netip.Addr) {
	var expect error
	have, holds := m.held[id]
	switch {
	case !pool.Ranges[0].Subnet.Contains(want):
		expect = ipam.ErrOutside
	case holds && have != want:
		expect = ipam.ErrConflict
	case holds:
	case !slices.Contains(gives, want):
		expect = ipam.ErrOutside
	default:
		for _, h := range m.held {
			if h == want {
				expect = ipam.ErrTaken
			}
		}
	}
	_, err := a.Allocate(context.Background(), ipam.Request{Key: ipamtest.Key(id), Pools: []ipam.Pool{pool}, Want: []netip.Addr{want}})
	if !errors.Is(err, expect) || err != nil && expect == nil {
		t.Errorf("allocate %s wanting %s: %v, want %v", id, want, err, expect)
	}
	if err == nil {
		m.take(id, want)
	}
}

func (m *model) release(t *testing.T, a *ipam.Allocator, id string) {
	if err := a.Release(context.Background(), ipamtest.Key(id)); err != nil {
		t.Errorf("release %s: %v", id, err)
	}
	if addr, ok := m.held[id]; ok {
		delete(m.held, id)
		m.last[id] = addr
		m.free = append(m.free, addr)
		m.back[addr] = m.now
	}
}

// TestLargePools allocates at the far end of large pools without walking there.
func TestLargePools(t *testing.T) {
	for _, c := range []struct{ subnet, want, next string }{
		{"10.0.0.0/8", "10.200.0.0", "10.0.0.2"},
		{"fd00::/64", "fd00::ffff:ffff:ffff:0", "fd00::2"},
		{"fd00::/16", "fd00:ffff::", "fd00::2"},
	} {
		a := ipam.New(ipam.NewMemoryStore(), ipam.Config{})
		p := ipam.SubnetPool("small", netip.MustParsePrefix(c.subnet), netip.Addr{})
		req := ipam.Request{Key: ipamtest.Key("a"), Pools: []ipam.Pool{p}, Want: []netip.Addr{netip.MustParseAddr(c.want)}}
		if l, err := a.Allocate(context.Background(), req); err != nil || l.Addr().Addr() != req.Want[0] {
			t.Errorf("%s: %v, %v", c.subnet, l.Addrs, err)
		}
		req = ipam.Request{Key: ipamtest.Key("b"), Pools: []ipam.Pool{p}}
		if l, err := a.Allocate(context.Background(), req); err != nil || l.Addr().Addr().String() != c.next {
			t.Errorf("%s: %v, %v", c.subnet, l.Addrs, err)
		}
		if u, err := a.Usage(context.Background(), p); err != nil || u.Free < 1<<23 || u.Free > 1<<31-1 {
			t.Errorf("%s: usage %+v, %v", c.subnet, u, err)
		}
	}
}

func TestBadRequests(t *testing.T) {
	a := ipam.New(ipam.NewMemoryStore(), ipam.Config{})
	p := ipamtest.Small()
	for i, req := range []ipam.Request{
		{},
		{Key: ipam.Key{Network: "small", IfName: "e"}, Pools: []ipam.Pool{p}},
		{Key: ipam.Key{Network: "small", ContainerID: "a\x00b", IfName: "e"}, Pools: []ipam.Pool{p}},
		{Key: ipam.Key{Network: "small", ContainerID: "a\xff", IfName: "e"}, Pools: []ipam.Pool{p}},
		{Key: ipamtest.Key("a"), Pools: []ipam.Pool{p}, StickyKey: "\xff"},
		{Key: ipam.Key{Network: "other", ContainerID: "a", IfName: "e"}, Pools: []ipam.Pool{p}},
		{Key: ipamtest.Key("a")},
		{Key: ipamtest.Key("a"), Pools: []ipam.Pool{p, p}},
		{Key: ipamtest.Key("a"), Pools: []ipam.Pool{{Network: "small"}}},
		{Key: ipamtest.Key("a"), Pools: []ipam.Pool{p}, StickyKey: "\x00"},
		{Key: ipamtest.Key("a"), Pools: []ipam.Pool{p}, Want: []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}},
	} {
		if _, err := a.Allocate(context.Background(), req); !errors.Is(err, ipam.ErrInvalid) {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if err := a.Release(context.Background(), ipam.Key{}); !errors.Is(err, ipam.ErrInvalid) {
		t.Errorf("release of no key: %v", err)
	}
	_, err := a.Allocate(context.Background(), ipam.Request{Key: ipamtest.Key("a"), Pools: []ipam.Pool{p}, Want: []netip.Addr{netip.MustParseAddr("192.0.2.6")}})
	const want = "ipam: allocate small/a/eth0: address 192.0.2.6: is reserved for the host; want one of pool small 192.0.2.0/29"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func BenchmarkMemory(b *testing.B) { ipamtest.BenchmarkStore(b, ipam.NewMemoryStore()) }
