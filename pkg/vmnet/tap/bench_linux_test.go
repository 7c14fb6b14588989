package tap_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/ownns"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/tap"
)

// A pairOf makes two namespaces that reach each other at 192.168.127.2 and .3.
type pairOf func(b *testing.B) (from, to space)

// BenchmarkPaths compares ways between two namespaces with what ip(8) makes: a
// bridge and veths beside Plug, taps on a bridge beside taps on the driver's. A tap
// has no guest here: two threads move its frames to and from a second tap in the
// namespace, for all that have one the same, so that only what lies between
// differs.
//
//	veth    a container of driver tap
//	tap     frames tap: the tap itself is the guest's; the kernel does the rest
//	relay   frames dgram, beside the plain taps
//
// Both are there at the same time and take turns, so that what else the machine does
// concerns both: one operation is a round of each. ours:plain is the median of the
// rounds' ratios of speed, cpu-ours:plain that of the work done for a second of
// processor time, of guests and kernel together.
func BenchmarkPaths(b *testing.B) {
	ownns.Needs(b)
	for _, p := range []struct {
		name        string
		plain, ours pairOf
	}{{"veth", plainVeth, pluggedPair}, {"tap", plainTaps, tapPair}, {"relay", plainTaps, relayPair}} {
		b.Run("stream/"+p.name, func(b *testing.B) { compare(b, p.plain, p.ours, 16<<20, stream) })
		b.Run("rtt/"+p.name, func(b *testing.B) { compare(b, p.plain, p.ours, 200, roundTrips) })
	}
}

// A way is one of the two that are compared.
type way struct {
	conn net.Conn
	time []float64 // of each round, in seconds
	cpu  []float64
}

// compare has both ways do n pieces of work in turn.
func compare(b *testing.B, plain, ours pairOf, n int, work func(net.Conn, int) error) {
	var ways [2]way
	for i, p := range []pairOf{plain, ours} {
		from, to := p(b)
		listenIn(b, to)
		from.do(b, func() (err error) {
			ways[i].conn, err = net.DialTimeout("tcp", "192.168.127.3:9", 5*time.Second)
			return err
		})
		defer ways[i].conn.Close()
		if err := work(ways[i].conn, n); err != nil { // windows are open, tables filled
			b.Fatal(err)
		}
	}
	round := 0
	for b.Loop() {
		for i := range ways {
			w := &ways[(i+round)%2] // none is always first
			start, cpu := time.Now(), cpuTime(b)
			if err := work(w.conn, n); err != nil {
				b.Fatal(err)
			}
			w.time = append(w.time, time.Since(start).Seconds())
			w.cpu = append(w.cpu, cpuTime(b)-cpu)
		}
		round++
	}
	unit, scale := "MB/s", 1e-6
	if n < 1<<10 {
		unit, scale = "rtt/s", 1
	}
	b.ReportMetric(median(ways[0].time, ways[1].time), "ours:plain")
	b.ReportMetric(median(ways[0].cpu, ways[1].cpu), "cpu-ours:plain")
	for i, who := range []string{"plain-", "ours-"} {
		b.ReportMetric(float64(n)*scale/median(ways[i].time, nil), who+unit)
	}
}

// median is the median of a[i]/b[i]; nil b: of a.
func median(a, b []float64) float64 {
	r := slices.Clone(a)
	for i := range b {
		r[i] /= b[i]
	}
	slices.Sort(r)
	return r[len(r)/2]
}

// cpuTime is the processor time of this process, in seconds: of both guests, and of
// the kernel on their behalf.
func cpuTime(b *testing.B) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// stream sends n bytes and waits until they have been read.
func stream(c net.Conn, n int) error {
	buf := make([]byte, 256<<10)
	if err := binary.Write(c, binary.BigEndian, uint32(n)); err != nil {
		return err
	}
	for ; n > 0; n -= min(n, len(buf)) {
		if _, err := c.Write(buf[:min(n, len(buf))]); err != nil {
			return err
		}
	}
	_, err := io.ReadFull(c, buf[:1])
	return err
}

// roundTrips sends little and waits for the answer, n times.
func roundTrips(c net.Conn, n int) error {
	for range n {
		if err := stream(c, 1); err != nil {
			return err
		}
	}
	return nil
}

// listenIn answers each message, a length and as many bytes, with a byte.
func listenIn(b *testing.B, s space) {
	s.do(b, func() error {
		l, err := net.Listen("tcp", ":9")
		if err != nil {
			return err
		}
		var done sync.WaitGroup
		done.Go(func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				done.Go(func() { defer c.Close(); take(c) })
			}
		})
		b.Cleanup(func() { l.Close(); done.Wait() })
		return nil
	})
}

func take(c net.Conn) {
	buf := make([]byte, 256<<10)
	for {
		if _, err := io.ReadFull(c, buf[:4]); err != nil {
			return
		}
		for n := int(binary.BigEndian.Uint32(buf)); n > 0; {
			k, err := c.Read(buf[:min(n, len(buf))])
			if err != nil {
				return
			}
			n -= k
		}
		if _, err := c.Write(buf[:1]); err != nil {
			return
		}
	}
}

func benchNet(b *testing.B) vmnet.Network {
	d := tap.New(tap.Config{Owner: b.Name()})
	return open(b, d, vmnet.NetworkConfig{Mode: vmnet.Host, Subnet: subnet, Offload: false})
}

func pluggedPair(b *testing.B) (from, to space) {
	n := benchNet(b)
	from, _ = plugged(b, n, "192.168.127.2/24")
	to, _ = plugged(b, n, "192.168.127.3/24")
	return from, to
}

// plainBridge makes a bridge as ip(8) does.
func plainBridge(b *testing.B) netlink.Link {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "plain0"
	br := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(br); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = netlink.LinkDel(br) })
	if err := netlink.LinkSetUp(br); err != nil {
		b.Fatal(err)
	}
	return br
}

func plainVeth(b *testing.B) (from, to space) {
	br := plainBridge(b)
	one := func(name, addr string) space {
		s := newSpace(b)
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		v := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(s.file.Fd())}
		if err := netlink.LinkAdd(v); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = netlink.LinkDel(v) })
		if err := netlink.LinkSetMaster(v, br); err != nil {
			b.Fatal(err)
		}
		if err := netlink.LinkSetUp(v); err != nil {
			b.Fatal(err)
		}
		s.do(b, func() error { return configure("eth0", addr) })
		return s
	}
	return one("pv0", "192.168.127.2/24"), one("pv1", "192.168.127.3/24")
}

func plainTaps(b *testing.B) (from, to space) {
	br := plainBridge(b)
	one := func(name, addr string) space {
		f, l := newTap(b, name)
		if err := netlink.LinkSetMaster(l, br); err != nil {
			b.Fatal(err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			b.Fatal(err)
		}
		return wire(b, f, nil, addr)
	}
	return one("pt0", "192.168.127.2/24"), one("pt1", "192.168.127.3/24")
}

func tapPair(b *testing.B) (from, to space) {
	n := benchNet(b)
	one := func(addr string) space {
		d, err := n.Start(b.Context(), vmnet.Config{Tap: true})
		if err != nil {
			b.Fatal(err)
		}
		p := netip.MustParsePrefix(addr) // as the shim does by default
		r := vmnet.Rules{Guard: vmnet.Guard{MAC: true, IP: true, Addrs: []netip.Addr{p.Addr()}, DHCP: true, RA: true},
			Answer: func([]byte, func([]byte)) {}}
		if err := d.(vmnet.Ruler).SetRules(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		f, err := d.(vmnet.TapHolder).Tap()
		if err != nil {
			b.Fatal(err)
		}
		return wire(b, f, d.Info().MAC, addr)
	}
	return one("192.168.127.2/24"), one("192.168.127.3/24")
}

func relayPair(b *testing.B) (from, to space) {
	n := benchNet(b)
	one := func(addr string) space {
		d, err := n.Start(b.Context(), vmnet.Config{})
		if err != nil {
			b.Fatal(err)
		}
		ifc := vmnet.NewInterface("bench", d)
		r, err := relay.New(ifc, relay.Config{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { r.Close() })
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		for _, fd := range fds {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
		}
		port, err := relay.NewDatagramPort(os.NewFile(uintptr(fds[0]), "host"), d.Info().MaxPacketSize)
		if err != nil {
			b.Fatal(err)
		}
		r.Attach(port, "fd")
		return wire(b, os.NewFile(uintptr(fds[1]), "guest"), d.Info().MAC, addr)
	}
	return one("192.168.127.2/24"), one("192.168.127.3/24")
}

// newTap makes a tap in this thread's namespace.
func newTap(b *testing.B, name string) (*os.File, netlink.Link) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		b.Fatal(err)
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		b.Fatal(err)
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		b.Fatal(err)
	}
	return os.NewFile(uintptr(fd), name), l
}

// wire makes a namespace whose eth0 is a tap, and moves frames between that and f
// as a virtual machine's two queues do, each on a thread.
func wire(b *testing.B, f *os.File, mac net.HardwareAddr, addr string) space {
	s := newSpace(b)
	var inner *os.File
	s.do(b, func() error {
		var l netlink.Link
		inner, l = newTap(b, "eth0")
		if mac != nil {
			if err := netlink.LinkSetHardwareAddr(l, mac); err != nil {
				return err
			}
		}
		return configure("eth0", addr)
	})
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for _, ends := range [][2]*os.File{{f, inner}, {inner, f}} {
		done.Go(func() { pump(ctx, int(ends[0].Fd()), int(ends[1].Fd())) })
	}
	b.Cleanup(func() {
		stop()
		done.Wait()
		f.Close()
		inner.Close()
	})
	return s
}

func pump(ctx context.Context, from, to int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	buf := make([]byte, 64<<10)
	p := []unix.PollFd{{Fd: int32(from), Events: unix.POLLIN}}
	for ctx.Err() == nil {
		if n, _ := unix.Poll(p, 100); n == 0 {
			continue
		}
		for range 64 {
			n, err := unix.Read(from, buf)
			if err != nil || n == 0 {
				break
			}
			_, _ = unix.Write(to, buf[:n])
			if k, _ := unix.Poll(p, 0); k == 0 {
				break
			}
		}
	}
}
