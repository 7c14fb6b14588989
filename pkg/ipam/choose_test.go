package ipam_test

import (
	"errors"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// A fakeView is a View in plain values.
type fakeView struct {
	held     map[string]string // address to container ID
	released []string
	sticky   map[string]string
	cursor   ipam.Cursor
	age      map[string]time.Duration // since the release; absent: an hour
	others   []string                 // released by other pools
}

func (v fakeView) Holder(a netip.Addr) (ipam.Key, bool) {
	id, ok := v.held[a.String()]
	return ipam.Key{Network: "n", ContainerID: id, IfName: "eth0"}, ok
}

func (v fakeView) Released(a netip.Addr) bool { return slices.Contains(v.released, a.String()) }

func (v fakeView) Sticky(key string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(v.sticky[key])
	return a, err == nil
}

func (v fakeView) Oldest() iter.Seq2[netip.Addr, time.Time] {
	return func(yield func(netip.Addr, time.Time) bool) {
		for _, a := range v.released {
			if !yield(netip.MustParseAddr(a), v.since(a)) {
				return
			}
		}
	}
}

func (v fakeView) since(a string) time.Time {
	age, ok := v.age[a]
	if !ok {
		age = time.Hour
	}
	return v.Now().Add(-age)
}

func (v fakeView) Elsewhere(bits int, gives func(netip.Addr) bool) (first netip.Addr, since time.Time, ok bool) {
	for _, text := range v.others {
		a, at := netip.MustParseAddr(text), v.since(text)
		if a.BitLen() == bits && gives(a) && (!ok || at.Before(since)) {
			first, since, ok = a, at, true
		}
	}
	return first, since, ok
}

func (v fakeView) Now() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func (v fakeView) Cursor() ipam.Cursor { return v.cursor }

func at(addr string) ipam.Cursor { return ipam.Cursor{Addr: netip.MustParseAddr(addr)} }

func TestChoose(t *testing.T) {
	small := ipam.SubnetPool("n", netip.MustParsePrefix("10.0.0.0/29"), netip.Addr{}) // .2 to .5
	wide := ipam.SubnetPool("n", netip.MustParsePrefix("fd00::/64"), netip.MustParseAddr("fd00::ff"))
	ranges := ipam.Pool{Network: "n", Ranges: []ipam.Range{
		{Subnet: netip.MustParsePrefix("10.0.1.0/24"), First: netip.MustParseAddr("10.0.1.10"), Last: netip.MustParseAddr("10.0.1.11")},
		{Subnet: netip.MustParsePrefix("10.0.0.0/24"), First: netip.MustParseAddr("10.0.0.254"), Last: netip.MustParseAddr("10.0.0.255")},
		{Subnet: netip.MustParsePrefix("10.0.0.0/24"), First: netip.MustParseAddr("10.0.0.7"), Last: netip.MustParseAddr("10.0.0.7")},
	}}
	full := map[string]string{"10.0.0.2": "a", "10.0.0.3": "b", "10.0.0.4": "e", "10.0.0.5": "d"} // none is the request's
	done := ipam.Cursor{Done: true}
	for _, c := range []struct {
		name   string
		pool   ipam.Pool
		view   fakeView
		want   string
		got    string
		cursor ipam.Cursor
		err    error
	}{
		{name: "first", pool: small, got: "10.0.0.2/29", cursor: at("10.0.0.3")},
		{name: "next", pool: small, view: fakeView{cursor: at("10.0.0.3")}, got: "10.0.0.3/29", cursor: at("10.0.0.4")},
		{name: "over held", pool: small, view: fakeView{cursor: at("10.0.0.3"), held: full}, cursor: done, err: ipam.ErrExhausted},
		{name: "last", pool: small, view: fakeView{cursor: at("10.0.0.5")}, got: "10.0.0.5/29", cursor: done},
		{name: "over released", pool: small, view: fakeView{released: []string{"10.0.0.2"}}, got: "10.0.0.3/29", cursor: at("10.0.0.4")},
		{name: "oldest", pool: small, view: fakeView{cursor: done, released: []string{"10.0.0.4", "10.0.0.2"}}, got: "10.0.0.4/29", cursor: done},
		{
			name: "lost", pool: small, got: "10.0.0.3/29", cursor: at("10.0.0.4"),
			view: fakeView{cursor: ipam.Cursor{Done: true, Lost: true}, released: []string{"10.0.0.2"}},
		},
		{name: "sticky", pool: small, view: fakeView{sticky: map[string]string{"c/eth0": "10.0.0.5"}}, got: "10.0.0.5/29"},
		{name: "sticky, held", pool: small, view: fakeView{sticky: map[string]string{"c/eth0": "10.0.0.5"}, held: full}, cursor: done, err: ipam.ErrExhausted},
		{name: "sticky, outside", pool: small, view: fakeView{sticky: map[string]string{"c/eth0": "10.0.0.6"}}, got: "10.0.0.2/29", cursor: at("10.0.0.3")},
		{name: "wanted", pool: small, want: "10.0.0.4", got: "10.0.0.4/29"},
		{name: "wanted, held", pool: small, want: "10.0.0.4", view: fakeView{held: full}, err: ipam.ErrTaken},
		{name: "wanted, gateway", pool: small, want: "10.0.0.1", err: ipam.ErrOutside},
		{name: "gateway elsewhere", pool: wide, got: "fd00::1/64", cursor: at("fd00::2")},
		{name: "over the gateway", pool: wide, view: fakeView{cursor: at("fd00::fe")}, got: "fd00::fe/64", cursor: at("fd00::100")},
		{name: "ranges", pool: ranges, got: "10.0.1.10/24", cursor: at("10.0.1.11")},
		{name: "to the next range", pool: ranges, view: fakeView{cursor: at("10.0.1.11")}, got: "10.0.1.11/24", cursor: at("10.0.0.7")},
		{name: "last range", pool: ranges, view: fakeView{cursor: at("10.0.0.7")}, got: "10.0.0.7/24", cursor: done},
		{name: "not a pool", pool: ipam.Pool{Network: "n"}, err: ipam.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := ipam.Request{Key: ipam.Key{Network: "n", ContainerID: "c", IfName: "eth0"}, Pools: []ipam.Pool{c.pool}}
			if c.want != "" {
				req.Want = []netip.Addr{netip.MustParseAddr(c.want)}
			}
			got, err := ipam.Choose(c.pool, c.view, req)
			if !errors.Is(err, c.err) || err != nil && c.err == nil {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err == nil && got.Addr.String() != c.got || got.Cursor != c.cursor {
				t.Errorf("got %v, %+v, want %s, %+v", got.Addr, got.Cursor, c.got, c.cursor)
			}
		})
	}
}

func TestChooseStale(t *testing.T) {
	p := ipam.SubnetPool("n", netip.MustParsePrefix("10.0.0.0/29"), netip.Addr{})
	v := fakeView{cursor: ipam.Cursor{Done: true}, released: []string{"10.0.0.1", "10.9.9.9", "10.0.0.3"}}
	got, err := ipam.Choose(p, v, ipam.Request{Key: ipam.Key{Network: "n", ContainerID: "c", IfName: "eth0"}})
	if err != nil || got.Addr.Addr().String() != "10.0.0.3" || len(got.Stale) != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestChooseQuarantine: what was released lately comes last, or not at all.
func TestChooseQuarantine(t *testing.T) {
	p := ipam.SubnetPool("n", netip.MustParsePrefix("10.0.0.0/29"), netip.Addr{})
	done := ipam.Cursor{Done: true}
	age := map[string]time.Duration{"10.0.0.2": 59 * time.Second, "10.0.0.3": time.Minute, "10.0.0.4": 50 * time.Second, "10.0.0.5": -time.Hour}
	for _, c := range []struct {
		name  string
		view  fakeView
		whole bool
		got   string
		early bool
		wait  time.Duration
	}{
		{name: "over", view: fakeView{released: []string{"10.0.0.3", "10.0.0.2"}}, whole: true, got: "10.0.0.3/29"},
		{name: "not over", view: fakeView{released: []string{"10.0.0.2"}}, got: "10.0.0.2/29", early: true},
		{name: "not over, whole", view: fakeView{released: []string{"10.0.0.2"}}, whole: true, wait: time.Second},
		{name: "clock went back", view: fakeView{released: []string{"10.0.0.5"}}, whole: true, wait: time.Minute},
		{name: "elsewhere over", view: fakeView{released: []string{"10.0.0.2"}, others: []string{"10.0.0.3"}}, whole: true, got: "10.0.0.3/29"},
		{name: "elsewhere later", view: fakeView{released: []string{"10.0.0.2"}, others: []string{"10.0.0.4"}}, got: "10.0.0.2/29", early: true},
		{name: "elsewhere only", view: fakeView{others: []string{"fd00::2", "10.9.0.1", "10.0.0.4"}}, got: "10.0.0.4/29", early: true},
		{name: "elsewhere, for nothing", view: fakeView{released: []string{"10.0.0.3"}, others: []string{"10.0.0.4"}}, got: "10.0.0.3/29"},
		{name: "its own", view: fakeView{released: []string{"10.0.0.2"}, sticky: map[string]string{"c/eth0": "10.0.0.2"}}, whole: true, got: "10.0.0.2/29"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.view.cursor, c.view.age = done, age
			got, err := ipam.Choose(p, c.view, ipam.Request{
				Key: ipam.Key{Network: "n", ContainerID: "c", IfName: "eth0"}, Quarantine: time.Minute, WholeQuarantine: c.whole,
			})
			var full *ipam.ExhaustedError
			switch errors.As(err, &full); {
			case c.wait > 0 && (full == nil || full.Wait != c.wait || got.Addr.IsValid()):
				t.Errorf("got %v, %v, want a wait of %s", got.Addr, err, c.wait)
			case c.wait == 0 && (err != nil || got.Addr.String() != c.got || got.Early != c.early):
				t.Errorf("got %v, early %t, %v, want %s, %t", got.Addr, got.Early, err, c.got, c.early)
			}
		})
	}
}

func TestPoolCheck(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	good := ipam.SubnetPool("n", prefix("10.0.0.0/24"), netip.Addr{})
	for text, change := range map[string]func(p *ipam.Pool){
		"pool network":       func(p *ipam.Pool) { p.Network = "" },
		`"n\x00"`:            func(p *ipam.Pool) { p.Network = "n\x00" },
		"pool name of 2000":  func(p *ipam.Pool) { p.Name = strings.Repeat("x", 2000) },
		"want a range":       func(p *ipam.Pool) { p.Ranges = nil },
		"subnet invalid":     func(p *ipam.Pool) { p.Ranges[0].Subnet = netip.Prefix{} },
		"at most 29":         func(p *ipam.Pool) { p.Ranges[0].Subnet = prefix("10.0.0.0/30") },
		"at most 125":        func(p *ipam.Pool) { p.Ranges[0].Subnet = prefix("fd00::/126") },
		"gateway 10.0.1.1":   func(p *ipam.Pool) { p.Ranges[0].Gateway = addr("10.0.1.1") },
		"first fd00::1":      func(p *ipam.Pool) { p.Ranges[0].First = addr("fd00::1") },
		"last 10.1.0.0":      func(p *ipam.Pool) { p.Ranges[0].Last = addr("10.1.0.0") },
		"before the last":    func(p *ipam.Pool) { p.Ranges[0].First, p.Ranges[0].Last = addr("10.0.0.9"), addr("10.0.0.8") },
		"exclude invalid":    func(p *ipam.Pool) { p.Exclude = make([]netip.Prefix, 1) },
		"no address is left": func(p *ipam.Pool) { p.Exclude = []netip.Prefix{prefix("10.0.0.0/8")} },
		"overlap":            func(p *ipam.Pool) { p.Ranges = append(p.Ranges, ipam.Range{Subnet: prefix("10.0.0.0/25")}) },
		"one IP version":     func(p *ipam.Pool) { p.Ranges = append(p.Ranges, ipam.Range{Subnet: prefix("fd00::/64")}) },
	} {
		p := good
		p.Ranges = slices.Clone(good.Ranges)
		change(&p)
		if err := p.Check(); !errors.Is(err, ipam.ErrInvalid) || !strings.Contains(err.Error(), text) {
			t.Errorf("want an error about %q, got %v", text, err)
		}
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

func TestReserved(t *testing.T) {
	p := ipam.SubnetPool("n", netip.MustParsePrefix("10.0.0.0/24"), netip.MustParseAddr("10.0.0.9"))
	p.Ranges[0].Last = netip.MustParseAddr("10.0.0.100")
	p.Exclude = []netip.Prefix{netip.MustParsePrefix("10.0.0.16/28")}
	for addr, want := range map[string]string{
		"10.0.0.0": "is the network's own", "10.0.0.9": "is the gateway", "10.0.0.254": "is reserved for the host",
		"10.0.0.255": "is the broadcast address", "10.0.0.17": "is excluded by 10.0.0.16/28", "10.0.0.101": "is out of range",
		"10.0.0.1": "", "10.0.0.100": "",
	} {
		if got := p.Reserved(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Reserved(%s): %q, want %q", addr, got, want)
		}
	}
}

func TestChooseSubnet(t *testing.T) {
	all := func(from, to int) (in []string) {
		for i := from; i <= to; i++ {
			in = append(in, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i), 77}), 24).String())
		}
		return in
	}
	for _, c := range []struct {
		inUse []string
		want  string
	}{
		{nil, "192.168.127.0/24"},
		{[]string{"10.0.0.0/8", "fd00::/8", "192.168.126.0/24"}, "192.168.127.0/24"},
		{[]string{"192.168.127.5/32"}, "192.168.128.0/24"},
		{[]string{"192.168.127.5/30", "192.168.128.0/23"}, "192.168.130.0/24"},
		{[]string{"192.168.128.0/17"}, "192.168.127.0/24"},
		{[]string{"192.168.0.0/17"}, "192.168.128.0/24"},
		{[]string{"::ffff:192.168.127.0/120"}, "192.168.128.0/24"},
		{all(127, 222), "192.168.223.0/24"},
		{all(127, 223), ""},
		{[]string{"192.168.0.0/16"}, ""},
	} {
		var inUse []netip.Prefix
		for _, p := range c.inUse {
			inUse = append(inUse, netip.MustParsePrefix(p))
		}
		got, err := ipam.ChooseSubnet(append(inUse, netip.Prefix{}))
		if (err != nil) != (c.want == "") || err != nil && !errors.Is(err, ipam.ErrNoSubnet) || err == nil && got.String() != c.want {
			t.Errorf("ChooseSubnet(%v): %v, %v, want %s", c.inUse, got, err, c.want)
		}
	}
}
