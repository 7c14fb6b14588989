package netlink

import (
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/require"
)

// inNetNS runs fn in a network namespace of its own, on a thread that ends with
// it, so that no other test finds itself there.
func inNetNS(t *testing.T, fn func()) {
	t.Helper()
	require.NetNS(t)
	done := make(chan error)
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- os.NewSyscallError("unshare", err)
			return
		}
		fn()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// An api has the functions that the issue of this package is about, ours or
// upstream's.
type api map[string]reflect.Value

// apis returns both, by the names of the functions.
func apis() (ours, theirs api) {
	ours, theirs = api{}, api{}
	for _, p := range pairs {
		ours[p.name], theirs[p.name] = reflect.ValueOf(p.ours), reflect.ValueOf(p.theirs)
	}
	return ours, theirs
}

// call returns the results as values that can be compared: errors as their text.
func (a api) call(name string, args ...any) (out []any) {
	defer func() {
		if p := recover(); p != nil {
			out = []any{fmt.Sprint("panic: ", p)}
		}
	}()
	fn := a[name]
	in := make([]reflect.Value, len(args))
	for i, arg := range args {
		if in[i] = reflect.ValueOf(arg); arg == nil {
			in[i] = reflect.Zero(fn.Type().In(min(i, fn.Type().NumIn()-1)))
		}
	}
	for _, v := range fn.Call(in) {
		x := v.Interface()
		if err, ok := x.(error); ok {
			x = fmt.Sprintf("%T: %v", err, err)
		}
		out = append(out, x)
	}
	return out
}

func mac(n byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, n} }

// A step is one call. Arguments are made afresh for each api, since calls change
// them.
type step struct {
	fn   string
	args func() []any
}

func with(args ...any) func() []any { return func() []any { return args } }

func named(name string) Link { return &Device{LinkAttrs: LinkAttrs{Name: name}} }

func addr(s string) *Addr {
	a, err := ParseAddr(s)
	if err != nil {
		panic(err)
	}
	return a
}

func ipnet(s string) *net.IPNet {
	n, err := ParseIPNet(s)
	if err != nil {
		panic(err)
	}
	return n
}

// index returns the index of a link in the namespace of the thread.
func index(name string) int {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return -1
	}
	return l.Attrs().Index
}

// steps are the functions that work on macOS too, in an order that gives each
// something to do, with errors among them.
var steps = []step{
	{"LinkAdd", func() []any {
		return []any{&Bridge{LinkAttrs: LinkAttrs{Name: "br", HardwareAddr: mac(1), MTU: 1400}}}
	}},
	{"LinkAdd", func() []any {
		return []any{&Veth{LinkAttrs: LinkAttrs{Name: "a", HardwareAddr: mac(2)}, PeerName: "b", PeerHardwareAddr: mac(3)}}
	}},
	{"LinkAdd", func() []any { return []any{&Bridge{LinkAttrs: LinkAttrs{Name: "br"}}} }}, // EEXIST
	{"LinkByName", with("br")},
	{"LinkByName", with("none")},
	{"LinkByIndex", func() []any { return []any{index("a")} }},
	{"LinkByIndex", with(99999)},
	{"LinkSetAlias", func() []any { return []any{named("a"), "an alias"} }},
	{"LinkByAlias", with("an alias")},
	{"LinkByAlias", with("none")},
	{"LinkSetMTU", func() []any { return []any{named("a"), 1300} }},
	{"LinkSetMTU", func() []any { return []any{named("none"), 1300} }},
	{"LinkSetHardwareAddr", func() []any { return []any{named("a"), mac(9)} }},
	{"LinkSetMaster", func() []any { return []any{named("b"), named("br")} }},
	{"LinkSetUp", func() []any { return []any{named("br")} }},
	{"LinkSetUp", func() []any { return []any{named("a")} }},
	{"LinkSetUp", func() []any { return []any{named("b")} }},
	{"LinkSetUp", func() []any { return []any{named("lo")} }},
	{"LinkSetARPOff", func() []any { return []any{named("a")} }},
	{"LinkSetARPOn", func() []any { return []any{named("a")} }},
	{"LinkList", with()},
	{"LinkSetNoMaster", func() []any { return []any{named("b")} }},
	{"LinkSetMasterByIndex", func() []any { return []any{named("b"), index("br")} }},
	{"AddrAdd", func() []any { return []any{named("a"), addr("10.9.0.1/24")} }},
	{"AddrAdd", func() []any { return []any{named("a"), addr("10.9.0.1/24")} }}, // EEXIST
	{"AddrAdd", func() []any { return []any{named("a"), addr("fd00:9::1/64")} }},
	{"AddrReplace", func() []any { return []any{named("a"), addr("10.9.0.1/24")} }},
	{"AddrReplace", func() []any { return []any{named("a"), addr("10.9.0.7/24")} }},
	{"AddrList", func() []any { return []any{named("a"), FAMILY_V4} }},
	{"AddrList", func() []any { return []any{nil, FAMILY_V4} }},
	{"AddrDel", func() []any { return []any{named("a"), addr("10.9.0.7/24")} }},
	{"AddrDel", func() []any { return []any{named("a"), addr("10.9.0.8/24")} }}, // EADDRNOTAVAIL
	{"RouteAdd", func() []any { return []any{&Route{Dst: ipnet("10.10.0.0/16"), Gw: net.IPv4(10, 9, 0, 2)}} }},
	{"RouteAdd", func() []any { return []any{&Route{Dst: ipnet("10.10.0.0/16"), Gw: net.IPv4(10, 9, 0, 2)}} }}, // EEXIST
	{"RouteAdd", func() []any { return []any{&Route{LinkIndex: index("a"), Dst: ipnet("10.11.0.0/16"), MTU: 1200}} }},
	{"RouteAdd", func() []any { return []any{&Route{Gw: net.IPv4(10, 9, 0, 2)}} }},
	{"RouteReplace", func() []any { return []any{&Route{Dst: ipnet("10.10.0.0/16"), Gw: net.IPv4(10, 9, 0, 3)}} }},
	{"RouteChange", func() []any { return []any{&Route{Dst: ipnet("10.99.0.0/16"), Gw: net.IPv4(10, 9, 0, 3)}} }}, // ENOENT
	{"RouteList", func() []any { return []any{named("a"), FAMILY_V4} }},
	{"RouteList", func() []any { return []any{nil, FAMILY_V4} }},
	{"RouteListFiltered", func() []any { return []any{FAMILY_V4, &Route{Dst: ipnet("10.11.0.0/16")}, RT_FILTER_DST} }},
	{"RouteListFiltered", func() []any { return []any{FAMILY_V4, &Route{Table: unix.RT_TABLE_LOCAL}, RT_FILTER_TABLE} }},
	{"RouteGet", with(net.IPv4(10, 10, 1, 1))},
	{"RouteGet", with(net.IPv4(127, 0, 0, 1))},
	{"RouteGetWithOptions", func() []any { return []any{net.IPv4(10, 11, 1, 1), &RouteGetOptions{Oif: "a"}} }},
	{"RouteDel", func() []any { return []any{&Route{Dst: ipnet("10.10.0.0/16")}} }},
	{"RouteDel", func() []any { return []any{&Route{Dst: ipnet("10.10.0.0/16")}} }}, // ESRCH
	{"NeighAdd", func() []any {
		return []any{&Neigh{LinkIndex: index("a"), IP: net.IPv4(10, 9, 0, 5), HardwareAddr: mac(5), State: NUD_PERMANENT}}
	}},
	{"NeighSet", func() []any {
		return []any{&Neigh{LinkIndex: index("a"), IP: net.IPv4(10, 9, 0, 5), HardwareAddr: mac(6), State: NUD_PERMANENT}}
	}},
	{"NeighList", func() []any { return []any{index("a"), FAMILY_V4} }},
	{"NeighDel", func() []any { return []any{&Neigh{LinkIndex: index("a"), IP: net.IPv4(10, 9, 0, 5)}} }},
	{"NeighDel", func() []any { return []any{&Neigh{LinkIndex: index("a"), IP: net.IPv4(10, 9, 0, 5)}} }}, // ENOENT
	{"LinkSetDown", func() []any { return []any{named("a")} }},
	{"LinkDel", func() []any { return []any{named("a")} }},
	{"LinkDel", func() []any { return []any{named("br")} }},
	{"LinkDel", func() []any { return []any{named("br")} }},
	{"LinkList", with()},
}

// picture is all that there is in a namespace.
func picture(t *testing.T) (out []any) {
	t.Helper()
	links, err := netlink.LinkList()
	addrs, err2 := netlink.AddrList(nil, netlink.FAMILY_V4)
	routes, err3 := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	neighs, err4 := netlink.NeighList(0, netlink.FAMILY_V4)
	neighs = slices.DeleteFunc(neighs, func(n netlink.Neigh) bool { return n.State != netlink.NUD_PERMANENT }) // the kernel's own
	if err := errors.Join(err, err2, err3, err4); err != nil {
		t.Error(err)
	}
	return []any{links, addrs, routes, neighs}
}

// run makes the steps with one api and returns what each gave and left.
func run(t *testing.T, a api) (out [][]any) {
	inNetNS(t, func() {
		for _, s := range steps {
			out = append(out, append(a.call(s.fn, s.args()...), picture(t)...))
		}
	})
	return out
}

// same leaves out of a comparison what two runs never have in common: counters,
// states that settle, and times.
var same = cmp.Options{
	cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(netlink.LinkAttrs{}, "Statistics", "OperState", "NetNsID"),
	cmpopts.IgnoreFields(netlink.Neigh{}, "Confirmed", "Used", "Updated"),
	cmpopts.IgnoreFields(netlink.Bridge{}, "AgeingTime"),
	cmp.Transformer("flags", func(f net.Flags) string { return strings.ReplaceAll(f.String(), "|running", "") }),
	cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".RawFlags" }, cmp.Ignore()),
	cmp.Exporter(func(reflect.Type) bool { return true }),
}

// TestBesideUpstream runs the functions of this package in one namespace and
// upstream's in another, and compares results, errors and what the kernel has
// after each.
func TestBesideUpstream(t *testing.T) {
	ours, theirs := apis()
	run(t, theirs) // upstream remembers what the kernel cannot do, and then asks in another way
	var got [][]any
	differ := func() (all []string) {
		got = run(t, ours)
		for i, want := range run(t, theirs) {
			if d := cmp.Diff(want, got[i], same); d != "" {
				all = append(all, fmt.Sprintf("step %d, %s: upstream -, ours +\n%s", i, steps[i].fn, d))
			}
		}
		return all
	}
	for _, d := range patiently(differ) {
		t.Error(d)
	}
	for _, fn := range []string{"LinkAdd", "RouteAdd", "AddrAdd"} { // the comparison compares something
		i := slices.IndexFunc(steps, func(s step) bool { return s.fn == fn })
		if got[i][0] != nil {
			t.Errorf("%s: %v", fn, got[i][0])
		}
	}
}

// apart are functions that begin something which only a channel ends, that change
// the whole process, or that wait for a minute where the kernel has no connection
// tracking. Their types are compared, and TestSubscribe and TestHandle run some.
var apart = []string{
	"AddrSubscribe", "LinkSubscribe", "RouteSubscribe", "NeighSubscribe", "ProcEventMonitor", "XfrmMonitor", "NewHandle", "SetSocketTimeout", "Conntrack",
}

// TestEveryFunction calls each function of upstream, and ours, with plain arguments
// in namespaces of their own. Most get an error; it must be the same.
func TestEveryFunction(t *testing.T) {
	ours, theirs := apis()
	for _, p := range pairs {
		if reflect.TypeOf(p.ours) != reflect.TypeOf(p.theirs) {
			t.Errorf("%s: type %T, want %T", p.name, p.ours, p.theirs)
			continue
		}
		if slices.ContainsFunc(apart, func(m string) bool { return strings.HasPrefix(p.name, m) }) {
			continue
		}
		differ := func() []string {
			var got, want []any
			inNetNS(t, func() { got = ours.call(p.name, plain(p.ours)...) })
			inNetNS(t, func() { want = theirs.call(p.name, plain(p.theirs)...) })
			if d := cmp.Diff(want, got, same); d != "" {
				return []string{d}
			}
			return nil
		}
		for _, d := range patiently(differ) {
			t.Errorf("%s: upstream -, ours +\n%s", p.name, d)
		}
	}
}

// patiently compares until there is no difference, five times at most: carriers come
// and modules of the kernel are loaded between one call and the other.
func patiently(differ func() []string) (all []string) {
	for range 5 {
		if all = differ(); len(all) == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return all
}

// plain returns arguments for a function: the loopback link, its address, empty
// structs, and zeros.
func plain(fn any) (args []any) {
	typ := reflect.TypeOf(fn)
	for i := range typ.NumIn() {
		in := typ.In(i)
		switch {
		case typ.IsVariadic() && i == typ.NumIn()-1:
		case in == reflect.TypeFor[netlink.Link]():
			args = append(args, &Device{LinkAttrs: LinkAttrs{Name: "lo", Index: 1}})
		case in == reflect.TypeFor[net.IP]():
			args = append(args, net.IPv4(127, 0, 0, 1))
		case in.Kind() == reflect.Pointer:
			args = append(args, reflect.New(in.Elem()).Interface())
		default:
			args = append(args, reflect.Zero(in).Interface())
		}
	}
	return args
}

// TestHandle works in a namespace from outside of it, as a program does that moves
// links between them.
func TestHandle(t *testing.T) {
	inNetNS(t, func() {
		ns, err := netns.Get()
		if err != nil {
			t.Error(err)
			return
		}
		defer ns.Close()
		h, err := NewHandleAt(ns, unix.NETLINK_ROUTE)
		if err != nil {
			t.Error(err)
			return
		}
		defer h.Close()
		lo, err := h.LinkByName("lo")
		if err != nil || lo.Attrs().Index != 1 {
			t.Errorf("%v, %v", lo, err)
			return
		}
		if err := h.LinkSetUp(lo); err != nil {
			t.Error(err)
		}
		if addrs, err := h.AddrList(lo, FAMILY_V4); err != nil || len(addrs) != 1 {
			t.Errorf("%v, %v", addrs, err)
		}
	})
}

// TestSubscribe hears of a link, its address and its route.
func TestSubscribe(t *testing.T) {
	inNetNS(t, func() {
		done := make(chan struct{})
		links, addrs := make(chan LinkUpdate, 64), make(chan AddrUpdate, 64)
		routes, neighs := make(chan RouteUpdate, 64), make(chan NeighUpdate, 64)
		err := errors.Join(LinkSubscribe(links, done), AddrSubscribe(addrs, done), RouteSubscribe(routes, done), NeighSubscribe(neighs, done))
		br := &Bridge{LinkAttrs: LinkAttrs{Name: "br"}}
		err = errors.Join(err, LinkAdd(br), LinkSetUp(br), AddrAdd(br, addr("10.9.0.1/24")),
			NeighAdd(&Neigh{LinkIndex: br.Index, IP: net.IPv4(10, 9, 0, 5), HardwareAddr: mac(5), State: NUD_PERMANENT}))
		if err != nil {
			t.Error(err)
			close(done)
			return
		}
		for u := range links {
			if u.Link.Attrs().Name == "br" {
				break
			}
		}
		for u := range addrs { // a link-local one may come first
			if u.NewAddr && u.LinkAddress.String() == "10.9.0.1/24" {
				break
			}
		}
		for u := range routes {
			if u.LinkIndex == br.Index {
				break
			}
		}
		for u := range neighs { // the bridge's own come first
			if u.IP.Equal(net.IPv4(10, 9, 0, 5)) {
				break
			}
		}
		close(done)
		for range links {
		}
		for range addrs {
		}
		for range routes {
		}
		for range neighs {
		}
	})
}
