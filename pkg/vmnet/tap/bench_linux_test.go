package tap_test

import (
	"context"
	"io"
	"net"
	"os"
	"runtime"
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
type pairOf struct {
	name string
	make func(b *testing.B) (from, to space)
}

// BenchmarkPaths compares ways between two namespaces, in one run: a bridge and
// veths as ip(8) makes them, the same by Plug, and taps on the driver's bridge. A tap
// has no guest here: two threads move its frames to and from a second tap in the
// namespace, for all that have one the same, so that only what lies between
// differs.
//
//	frames tap/kernel   the tap itself is the guest's; the kernel does the rest
//	frames tap/plain    a tap on a bridge as ip(8) makes them
//	frames dgram        through the relay, on the same bridge
func BenchmarkPaths(b *testing.B) {
	ownns.Needs(b)
	for _, p := range []pairOf{
		{"veth/plain", plainVeth}, {"veth/plug", pluggedPair},
		{"tap/plain", plainTaps}, {"tap/frames-tap", tapPair}, {"tap/relay", relayPair},
	} {
		b.Run("stream/"+p.name, func(b *testing.B) { stream(b, p) })
		b.Run("rtt/"+p.name, func(b *testing.B) { roundTrips(b, p) })
	}
}

const peerAddr = "192.168.127.3:9"

// stream measures one TCP connection.
func stream(b *testing.B, p pairOf) {
	from, to := p.make(b)
	listenIn(b, to, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	var c net.Conn
	from.do(b, func() (err error) { c, err = net.DialTimeout("tcp", peerAddr, 5*time.Second); return err })
	defer c.Close()
	buf := make([]byte, 256<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// roundTrips measures one byte each way.
func roundTrips(b *testing.B, p pairOf) {
	from, to := p.make(b)
	listenIn(b, to, func(c net.Conn) { _, _ = io.Copy(c, c) })
	var c net.Conn
	from.do(b, func() (err error) { c, err = net.DialTimeout("tcp", peerAddr, 5*time.Second); return err })
	defer c.Close()
	one := make([]byte, 1)
	for b.Loop() {
		if _, err := c.Write(one); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, one); err != nil {
			b.Fatal(err)
		}
	}
}

func listenIn(b *testing.B, s space, serve func(net.Conn)) {
	s.do(b, func() error {
		l, err := net.Listen("tcp", ":9")
		if err != nil {
			return err
		}
		var done sync.WaitGroup
		done.Go(func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				done.Go(func() { defer c.Close(); serve(c) })
			}
		})
		b.Cleanup(func() { l.Close(); done.Wait() })
		return nil
	})
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
		r := vmnet.Rules{Guard: vmnet.Guard{MAC: true, DHCP: true, RA: true}}
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
