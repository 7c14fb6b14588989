package tap_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/uuid"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/ownns"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/tap"
)

// A space is a network namespace that lives as long as its file.
type space struct{ file *os.File }

func newSpace(t testing.TB) space {
	t.Helper()
	files := make(chan *os.File)
	go func() { // the thread ends with the goroutine
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			close(files)
			return
		}
		f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err != nil {
			close(files)
			return
		}
		files <- f
	}()
	f := <-files
	if f == nil {
		t.Fatal("no new namespace")
	}
	t.Cleanup(func() { f.Close() })
	s := space{f}
	s.do(t, func() error { return configure("lo", "") })
	return s
}

// do runs fn on a thread in the namespace. Sockets that fn opens stay there.
func (s space) do(t testing.TB, fn func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(netns.NsHandle(s.file.Fd())); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// configure gives a link of this thread's namespace addresses and starts it.
func configure(link string, addrs ...string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	for _, text := range addrs {
		a, err := netlink.ParseAddr(text)
		if text == "" {
			continue
		}
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

// greet serves on an address of the namespace: each caller is told who it is.
func (s space) greet(t testing.TB, addr string) {
	t.Helper()
	s.do(t, func() error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				fmt.Fprintln(c, c.RemoteAddr().(*net.TCPAddr).IP)
				c.Close()
			}
		}()
		t.Cleanup(func() { l.Close(); <-done })
		return nil
	})
}

// call asks a greeter who this thread's namespace is.
func call(addr string) (string, error) { return callFor(30*time.Second, addr) }

// try is call where no answer is expected: it waits for 2 s only.
func try(addr string) (string, error) { return callFor(2*time.Second, addr) }

func callFor(wait time.Duration, addr string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, wait)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wait))
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

func (s space) call(t testing.TB, addr string) (who string, err error) {
	s.do(t, func() error {
		who, err = call(addr)
		return nil
	})
	return who, err
}

func (s space) try(t testing.TB, addr string) (who string, err error) {
	s.do(t, func() error {
		who, err = try(addr)
		return nil
	})
	return who, err
}

func open(t testing.TB, d *tap.Driver, cfg vmnet.NetworkConfig) vmnet.Network {
	t.Helper()
	cfg.Name = "n"
	n, err := d.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// plugged starts a device whose guest is a namespace with the addresses.
func plugged(t testing.TB, n vmnet.Network, addrs ...string) (space, vmnet.Device) {
	t.Helper()
	d, err := n.Start(t.Context(), vmnet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := newSpace(t)
	if err := d.(vmnet.Plugger).Plug(t.Context(), s.file, "eth0"); err != nil {
		t.Fatal(err)
	}
	s.do(t, func() error {
		if err := configure("eth0", addrs...); err != nil {
			return err
		}
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if l.Attrs().HardwareAddr.String() != d.Info().MAC.String() || l.Attrs().MTU != d.Info().MTU {
			return fmt.Errorf("link has %s and %d, want %s and %d", l.Attrs().HardwareAddr, l.Attrs().MTU, d.Info().MAC, d.Info().MTU)
		}
		for _, gw := range []netip.Addr{d.Info().Gateway, vmnet.FirstAddr(d.Info().Subnet6)} {
			if gw.IsValid() {
				if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: gw.AsSlice()}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return s, d
}

// TestReach has guests in namespaces, a LAN and the host call each other in each
// mode.
func TestReach(t *testing.T) {
	ownns.Needs(t)
	out := newSpace(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "wan0"
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "lan0", PeerNamespace: netlink.NsFd(out.file.Fd())}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	if err := configure("wan0", "198.51.100.1/24", "2001:db8::1/64"); err != nil {
		t.Fatal(err)
	}
	out.do(t, func() error { return configure("lan0", "198.51.100.2/24", "2001:db8::2/64") })
	out.greet(t, "198.51.100.2:1")
	out.greet(t, "[2001:db8::2]:1")

	t.Run("shared", func(t *testing.T) {
		n := open(t, newDriver(t), vmnet.NetworkConfig{Subnet: subnet, Subnet6: subnet6})
		a, da := plugged(t, n, "192.168.127.2/24", "fd00:127::2/64")
		b, _ := plugged(t, n, "192.168.127.3/24", "fd00:127::3/64")
		a.greet(t, ":80")
		wants(t, "the outside sees the host", "198.51.100.1")(a.call(t, "198.51.100.2:1"))
		wants(t, "the outside sees the host over IPv6", "2001:db8::1")(a.call(t, "[2001:db8::2]:1"))
		wants(t, "guests see each other", "192.168.127.3")(b.call(t, "192.168.127.2:80"))
		wants(t, "guests see the host", "192.168.127.1")(call("192.168.127.2:80"))
		f := da.(vmnet.Forwarder)
		rule := vmnet.Forward{Protocol: vmnet.TCP, External: netip.MustParseAddrPort("0.0.0.0:8080"), Internal: netip.MustParseAddrPort("192.168.127.2:80")}
		if err := f.AddForward(t.Context(), rule); err != nil {
			t.Fatal(err)
		}
		wants(t, "from outside", "198.51.100.2")(out.call(t, "198.51.100.1:8080"))
		wants(t, "from the host's loopback", "192.168.127.1")(call("127.0.0.1:8080"))
		wants(t, "from the host", "")(call("198.51.100.1:8080"))
		wants(t, "from a neighbour", "192.168.127.1")(b.call(t, "198.51.100.1:8080"))
		noNetfilter()
		wants(t, "from itself", "192.168.127.1")(a.call(t, "198.51.100.1:8080"))
		if l, err := net.Listen("tcp", ":8080"); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("another program can have the port: %v, %v", l, err)
		}
		if err := f.RemoveForward(t.Context(), rule); err != nil {
			t.Error(err)
		}
		if who, err := out.try(t, "198.51.100.1:8080"); err == nil {
			t.Errorf("still forwarded, for %s", who)
		}
	})
	t.Run("host", func(t *testing.T) {
		n := open(t, newDriver(t), vmnet.NetworkConfig{Mode: vmnet.Host, Subnet: subnet, Isolated: true})
		a, _ := plugged(t, n, "192.168.127.2/24")
		b, _ := plugged(t, n, "192.168.127.3/24")
		a.greet(t, ":80")
		wants(t, "the host reaches a guest", "192.168.127.1")(call("192.168.127.2:80"))
		refused(t, "the outside")(a.try(t, "198.51.100.2:1"))
		refused(t, "an isolated neighbour")(b.try(t, "192.168.127.2:80"))
	})
	t.Run("isolated", func(t *testing.T) {
		n := open(t, newDriver(t), vmnet.NetworkConfig{Subnet: subnet, Isolated: true})
		a, da := plugged(t, n, "192.168.127.2/24")
		b, _ := plugged(t, n, "192.168.127.3/24")
		a.greet(t, ":80")
		byGateway := func(s space, neighbour string) {
			s.do(t, func() error {
				dst, err := netlink.ParseIPNet(neighbour + "/32")
				if err != nil {
					return err
				}
				return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.IPv4(192, 168, 127, 1)})
			})
		}
		byGateway(a, "192.168.127.3")
		byGateway(b, "192.168.127.2")
		refused(t, "a neighbour by way of the gateway")(b.try(t, "192.168.127.2:80"))
		wants(t, "the outside sees the host", "198.51.100.1")(b.call(t, "198.51.100.2:1"))
		rule := vmnet.Forward{Protocol: vmnet.TCP, External: netip.MustParseAddrPort("0.0.0.0:8082"), Internal: netip.MustParseAddrPort("192.168.127.2:80")}
		if err := da.(vmnet.Forwarder).AddForward(t.Context(), rule); err != nil {
			t.Fatal(err)
		}
		noNetfilter()
		wants(t, "what a neighbour shows to all", "192.168.127.1")(b.call(t, "198.51.100.1:8082"))
	})
	t.Run("guard", func(t *testing.T) {
		n := open(t, newDriver(t), vmnet.NetworkConfig{Subnet: subnet})
		a, d := plugged(t, n, "192.168.127.2/24", "192.168.127.9/24")
		a.greet(t, ":80")
		wants(t, "before", "192.168.127.1")(call("192.168.127.9:80"))
		r := vmnet.Rules{ToGuest: vmnet.Rate{Bits: 1e9}, FromGuest: vmnet.Rate{Bits: 1e9}, Guard: vmnet.Guard{
			MAC: true, IP: true, DHCP: true, RA: true, Addrs: []netip.Addr{netip.MustParseAddr("192.168.127.2")},
			Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, Deny: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		}}
		if err := d.(vmnet.Ruler).SetRules(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		wants(t, "its own address", "192.168.127.1")(call("192.168.127.2:80"))
		refused(t, "another address")(try("192.168.127.9:80"))
		refused(t, "a denied destination")(a.try(t, "198.51.100.2:1"))
		if err := d.(vmnet.Ruler).SetRules(t.Context(), vmnet.Rules{}); err != nil {
			t.Fatal(err)
		}
		wants(t, "after", "192.168.127.1")(call("192.168.127.9:80"))
		wants(t, "after", "198.51.100.1")(a.call(t, "198.51.100.2:1"))
	})
}

// noNetfilter switches br_netfilter off in our namespace, where it is: with it the
// kernel translates on the bridge, which sends nothing back where it came from, nor to
// an isolated port.
func noNetfilter() {
	_ = os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("0"), 0o644)
}

func wants(t testing.TB, what, want string) func(string, error) {
	return func(got string, err error) {
		t.Helper()
		if err != nil || want != "" && got != want {
			t.Errorf("%s: %q, %v, want %q", what, got, err, want)
		}
	}
}

func refused(t testing.TB, what string) func(string, error) {
	return func(got string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s: answers, to %s", what, got)
		}
	}
}

// TestAgain has a process take up what another left: with its tap nothing is made
// again, and a namespace keeps its link.
func TestAgain(t *testing.T) {
	ownns.Needs(t)
	id := uuid.New()
	first := newDriver(t)
	n, err := first.Open(t.Context(), vmnet.NetworkConfig{Name: "n", Subnet: subnet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after all else: it finds nothing more
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	d, err := n.Start(t.Context(), vmnet.Config{UUID: id, Tap: true})
	if err != nil {
		t.Fatal(err)
	}
	guest, err := d.(vmnet.TapHolder).Tap()
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	bridge, port := n.Info().HostInterfaces[0], d.Info().HostInterfaces[0]
	indexes := [2]int{indexOf(t, bridge), indexOf(t, port)}
	// As after a crash: the second driver knows nothing of the first.
	kept, err := d.(vmnet.TapHolder).Tap()
	if err != nil {
		t.Fatal(err)
	}
	second := newDriver(t)
	again := open(t, second, vmnet.NetworkConfig{Subnet: subnet})
	back, err := again.Start(t.Context(), vmnet.Config{UUID: id, Tap: true, Files: map[string]*os.File{"tap": kept}})
	if err != nil {
		t.Fatal(err)
	}
	if now := [2]int{indexOf(t, bridge), indexOf(t, port)}; now != indexes {
		t.Errorf("indexes of bridge and tap %v, want %v: they were made again", now, indexes)
	}
	if files := back.(vmnet.FileHolder).Files(); files["tap"] != kept {
		t.Errorf("files %v, want the one that was given", files)
	}
	if err := second.Sweep(t.Context()); err != nil || indexOf(t, port) == 0 {
		t.Errorf("sweep took what is in use: %v", err)
	}
	if _, err := again.Start(t.Context(), vmnet.Config{UUID: id}); err == nil {
		t.Error("two devices of the same UUID")
	}
}

func indexOf(t testing.TB, name string) int {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		return 0
	}
	return l.Attrs().Index
}

// TestLeave has a process end while another goes on: link, bridge and rules stay as
// they are, and so does the connection of a container.
func TestLeave(t *testing.T) {
	ownns.Needs(t)
	n, err := newDriver(t).Open(t.Context(), vmnet.NetworkConfig{Name: "n", Subnet: subnet})
	if err != nil {
		t.Fatal(err)
	}
	s, plug := plugged(t, n, "192.168.127.2/24")
	id := uuid.New()
	d, err := n.Start(t.Context(), vmnet.Config{UUID: id, Tap: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.(vmnet.Ruler).SetRules(t.Context(), vmnet.Rules{Guard: vmnet.Guard{MAC: true}}); err != nil {
		t.Fatal(err)
	}
	kept, err := d.(vmnet.TapHolder).Tap()
	if err != nil {
		t.Fatal(err)
	}
	links := func() (is []int) {
		for _, name := range []string{n.Info().HostInterfaces[0], plug.Info().HostInterfaces[0], d.Info().HostInterfaces[0]} {
			is = append(is, indexOf(t, name))
		}
		return append(is, tables(t))
	}
	before := links()
	for range 2 { // idempotent
		if err := errors.Join(d.(vmnet.Leaver).Leave(), n.(vmnet.Leaver).Leave(), d.Close(), n.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if now := links(); !slices.Equal(now, before) {
		t.Errorf("links and tables %v, want %v", now, before)
	}
	again := open(t, newDriver(t), vmnet.NetworkConfig{Subnet: subnet})
	next, err := again.Start(t.Context(), vmnet.Config{UUID: id, Tap: true, Files: map[string]*os.File{"tap": kept}})
	if err == nil {
		err = next.(vmnet.Ruler).SetRules(t.Context(), vmnet.Rules{Guard: vmnet.Guard{MAC: true}})
	}
	if err != nil {
		t.Fatal(err)
	}
	back, err := again.Start(t.Context(), vmnet.Config{UUID: plug.Info().UUID})
	if err == nil {
		err = back.(vmnet.Plugger).Plug(t.Context(), nil, "eth0")
	}
	if now := links(); err != nil || !slices.Equal(now, before) {
		t.Errorf("taken up as %v, want %v: %v", now, before, err)
	}
	s.do(t, func() error { _, err := netlink.LinkByName("eth0"); return err })
}

func tables(t testing.TB) int {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
