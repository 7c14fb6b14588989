package tap_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

const echoAddr = "198.51.100.2:7"

// TestKept kills and upgrades the shim under guests and containers of every kind. Those on driver
// tap keep the connection that they have; those on netstack make another, on the
// interface that they have.
func TestKept(t *testing.T) {
	echo(t, outside(t, "up0", "198.51.100.1/24", "198.51.100.2/24"), echoAddr)
	bridged := func(frames string) map[string]any {
		return map[string]any{"mode": "bridged", "uplink": "up0", "frames": frames}
	}
	for _, c := range []struct {
		name   string
		keys   map[string]any
		join   func(testing.TB, *e2e.Machine) space
		redial bool // its connections go through the shim's own stack
	}{
		{name: "tap", keys: map[string]any{"frames": "tap"}, join: virtual},
		{name: "dgram", keys: map[string]any{"frames": "dgram"}, join: virtual},
		{name: "stream", keys: map[string]any{"frames": "stream"}, join: virtual},
		{name: "macvtap", keys: bridged("tap"), join: virtual},
		{name: "macvtap, dgram", keys: bridged("dgram"), join: virtual},
		{name: "veth", keys: nil, join: contained},
		{name: "macvlan", keys: bridged("dgram"), join: contained},
		{name: "netstack", keys: map[string]any{"driver": "netstack"}, join: contained, redial: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := traces(t)
			m := machine(t, c.keys)
			keep(t, m, c.join, c.redial)
			if err := m.Del(soon(t), "one", ""); err != nil {
				t.Error(err)
			}
			same(t, before)
		})
	}
}

// keep has somebody on the network talk through two deaths of the shim.
func keep(t *testing.T, m *e2e.Machine, join func(testing.TB, *e2e.Machine) space, redial bool) {
	s := join(t, m)
	conn := s.dial(t, echoAddr)
	defer func() { conn.Close() }()
	was := s.link(t)
	// The second time it is upgraded.
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGHUP} {
		ask(t, conn)
		pid := killed(t, m, signal)
		if redial {
			conn.Close()
		}
		eventually(t, "another shim", func() bool {
			if !redial {
				ask(t, conn)
			}
			now, err := m.Client.Status(soon(t))
			return err == nil && now.PID != pid
		})
		if redial {
			conn = s.dial(t, echoAddr)
		}
		problem := ""
		eventually(t, "the attachment", func() bool {
			a, err := m.Client.Attachment(soon(t), m.Network(), "one", e2e.IfName)
			if err != nil {
				t.Fatal(err)
			}
			if a.Problem != "" && a.Problem != problem {
				t.Log(a.Problem) // it is tried again
			}
			problem = a.Problem
			return problem == ""
		})
		ask(t, conn)
	}
	if now := s.link(t); now != was {
		t.Errorf("link was %s, is %s", was, now)
	}
}

// killed sends the shim a signal and returns which process it was.
func killed(t testing.TB, m *e2e.Machine, signal syscall.Signal) (pid int) {
	t.Helper()
	st, err := m.Client.Status(soon(t))
	if err == nil {
		err = syscall.Kill(st.PID, signal)
	}
	if err != nil {
		t.Fatal(err)
	}
	return st.PID
}

// ask sends a byte on a connection and waits for its echo.
func ask(t testing.TB, c net.Conn) {
	t.Helper()
	b := []byte{1}
	err := c.SetDeadline(time.Now().Add(time.Minute))
	if err == nil {
		_, err = c.Write(b)
	}
	if err == nil {
		_, err = io.ReadFull(c, b)
	}
	if err != nil {
		t.Fatal("the connection is lost: ", err)
	}
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

// echo sends back what comes, where do runs.
func echo(t testing.TB, do func(func() error), addr string) {
	t.Helper()
	var l net.Listener
	do(func() (err error) { l, err = net.Listen("tcp", addr); return err })
	var done sync.WaitGroup
	done.Go(func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			done.Go(func() {
				defer c.Close()
				stop := time.AfterFunc(3*time.Minute, func() { c.Close() }) // a guest that has vanished says no end
				defer stop.Stop()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { l.Close() })
}

// dial connects from the namespace.
func (s space) dial(t testing.TB, addr string) (c net.Conn) {
	t.Helper()
	eventually(t, "connection to "+addr, func() bool {
		err := s.try(func() (err error) { c, err = net.DialTimeout("tcp", addr, 5*time.Second); return err })
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Log(err)
		}
		return err == nil
	})
	return c
}

// link tells which link eth0 of the namespace is.
func (s space) link(t testing.TB) (id string) {
	t.Helper()
	s.do(func() error {
		l, err := netlink.LinkByName(e2e.IfName)
		if err == nil {
			id = fmt.Sprint(l.Attrs().Index, " ", l.Attrs().HardwareAddr)
		}
		return err
	})
	return id
}

// contained joins as a container does: CNI_NETNS is its namespace.
func contained(t testing.TB, m *e2e.Machine) space {
	t.Helper()
	s := newSpace(t)
	r, err := m.Add(soon(t), "one", s.path())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.IPs) == 0 {
		s.do(func() error { return addressed("198.51.100.50/24", nil, nil) })
	}
	return s
}

// virtual joins as a virtual machine does.
func virtual(t testing.TB, m *e2e.Machine) space {
	s, _ := push(t, m, "one", "198.51.100.50/24")
	return s
}

// push joins as a virtual machine does that has the frame fd: its interface is a tap
// in a namespace, whose frames go to and from that descriptor. It has addr where the
// network gives it no address; "": none.
func push(t testing.TB, m *e2e.Machine, id, addr string) (space, *e2e.Pushed) {
	t.Helper()
	p, err := m.AddPush(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	s := newSpace(t)
	var inner *os.File
	s.do(func() (err error) { inner, err = eth0(p, addr); return err })
	if p.Message.Kind == "tap" {
		wire(t, p.File, inner)
	} else {
		relayed(t, p, inner)
	}
	return s, p
}

// eth0 makes the tap, with the attachment's MAC and address, in the namespace that
// the thread is in.
func eth0(p *e2e.Pushed, addr string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if p.Message.Offload {
		flags |= unix.IFF_VNET_HDR
	}
	req, err := unix.NewIfreq(e2e.IfName)
	if err == nil {
		req.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	mac, merr := net.ParseMAC(p.Message.MAC)
	if err = errors.Join(err, merr); err != nil {
		return nil, err
	}
	var gw net.IP
	if ips := p.Result.IPs; len(ips) > 0 {
		addr, gw = ips[0].Address.String(), ips[0].Gateway
	}
	return os.NewFile(uintptr(fd), e2e.IfName), addressed(addr, gw, mac)
}

// relayed moves frames between the descriptor of an attachment and a tap.
func relayed(t testing.TB, p *e2e.Pushed, tap *os.File) {
	t.Helper()
	socket := relay.NewDatagramPort
	if p.Message.Kind == "stream" {
		socket = relay.NewStreamPort
	}
	outer, err := socket(p.File, p.Message.MaxFrameSize)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := relay.NewTapPort(tap, p.Message.MaxFrameSize)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() { pump(outer, inner, p.Message.MaxFrameSize) })
	done.Go(func() { pump(inner, outer, p.Message.MaxFrameSize) })
	t.Cleanup(func() {
		outer.Close()
		inner.Close()
		done.Wait()
	})
}

// wire moves frames between two taps, with what is before them.
func wire(t testing.TB, a, b *os.File) {
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for _, ends := range [][2]int{{int(a.Fd()), int(b.Fd())}, {int(b.Fd()), int(a.Fd())}} {
		done.Go(func() {
			buf := make([]byte, 128<<10)
			p := []unix.PollFd{{Fd: int32(ends[0]), Events: unix.POLLIN}}
			for ctx.Err() == nil {
				if n, _ := unix.Poll(p, 100); n == 0 {
					continue
				}
				if n, err := unix.Read(ends[0], buf); err == nil && n > 0 {
					_, _ = unix.Write(ends[1], buf[:n]) // as a wire: what does not fit is lost
				}
			}
		})
	}
	t.Cleanup(func() {
		stop()
		done.Wait()
		a.Close()
		b.Close()
	})
}

// addressed gives eth0 of the thread's namespace an address, and a MAC and a way out
// if they are not nil, and starts it.
func addressed(addr string, gw net.IP, mac net.HardwareAddr) error {
	l, err := netlink.LinkByName(e2e.IfName)
	if err != nil {
		return err
	}
	if mac != nil {
		err = netlink.LinkSetHardwareAddr(l, mac)
	}
	if err := errors.Join(err, netlink.LinkSetUp(l)); err != nil || addr == "" {
		return err
	}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, a); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	if gw == nil {
		return nil
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: gw})
}

// pump moves frames until one of the ports is closed.
func pump(from, to relay.Port, size int) {
	bufs, sizes := make([][]byte, 64), make([]int, 64)
	for i := range bufs {
		bufs[i] = make([]byte, size)
	}
	for {
		n, err := from.ReadBatch(bufs, sizes)
		if err != nil {
			return
		}
		frames := make([][]byte, n)
		for i := range frames {
			frames[i] = bufs[i][:sizes[i]]
		}
		if _, err := to.WriteBatch(frames); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
