package netstack_test

import (
	"bytes"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/icmp"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// TestPingOutside pings an address that is only in a network namespace of the
// test's own, where unprivileged ping is allowed.
func TestPingOutside(t *testing.T) {
	require.Root(t)
	const outside = "198.51.100.1"
	// The thread is never unlocked, so it ends with the test's goroutine. A host
	// socket is opened on the goroutine that writes the guest's frame: on this
	// thread.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("unshare a network namespace: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(outside).To4(), Mask: net.CIDRMask(32, 32)}}
	if err := netlink.AddrAdd(lo, addr); err != nil {
		t.Fatal(err)
	}
	// /proc/sys/net is that of the thread that opens it.
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0); err != nil {
		t.Skipf("allow ping: %v", err)
	}
	n := openNetwork(t, netstack.Config{}, nil)
	g := newGuest(t, n, "192.168.127.2")
	for _, size := range []int{0, 56, 4000} {
		data := bytes.Repeat([]byte{0x77}, size)
		packet := g.packet(1, outside, 64, echoRequest(4711, 3, data))
		for _, p := range fragments(packet, 1480) {
			g.sendIP(p)
		}
		if size > 1400 { // comes back in fragments, too
			got := 0
			for got < 8+size {
				select {
				case p := <-g.icmp:
					got += len(p) - 20
				case <-time.After(patience):
					t.Fatalf("%d bytes of the echo of %d came", got, size)
				}
			}
			continue
		}
		src, msg := g.nextICMP()
		if src.String() != outside || msg[0] != 0 || msg[4] != 0x12 || msg[5] != 0x67 || msg[7] != 3 || !bytes.Equal(msg[8:], data) {
			t.Errorf("from %s: % x, want the echo of %d bytes with the guest's identifier", src, msg[:8], size)
		}
	}
	if s := n.Stats().Ping; s.Open != 1 || s.Total != 1 {
		t.Errorf("flows: %+v, want one", s)
	}
}

// fragments cuts an IPv4 packet into fragments with up to size bytes of payload.
func fragments(p []byte, size int) (out [][]byte) {
	for off := 0; off < len(p)-20 || off == 0; off += size {
		end := min(off+size, len(p)-20)
		f := append(append([]byte(nil), p[:20]...), p[20+off:20+end]...)
		f[2], f[3] = byte(len(f)>>8), byte(len(f))
		f[6], f[7] = byte(off/8>>8), byte(off/8)
		if end < len(p)-20 {
			f[6] |= 0x20
		}
		f[5] = 9 // identification
		out = append(out, f)
	}
	return out
}

// TestPingNotAllowed checks the answer where the system allows no ping.
func TestPingNotAllowed(t *testing.T) {
	if c, err := icmp.ListenPacket("udp4", "0.0.0.0"); err == nil {
		_ = c.Close()
		t.Skip("this system allows unprivileged ping")
	}
	n := openNetwork(t, netstack.Config{}, nil)
	g := newGuest(t, n, "192.168.127.2")
	g.meet()
	g.sendIP(g.packet(1, "198.51.100.1", 64, echoRequest(1, 1, nil)))
	if src, msg := g.nextICMP(); src != n.Info().Gateway || msg[0] != 3 || msg[1] != 13 {
		t.Errorf("answer from %s type %d code %d, want the gateway's 3/13", src, msg[0], msg[1])
	}
	if d := n.Stats().Drops["no-ping"]; d != 1 {
		t.Errorf("no-ping counted %d times, want 1", d)
	}
}

// TestDescriptors checks that a network gives every descriptor back.
func TestDescriptors(t *testing.T) {
	count := func() int {
		// The echoing peer splices through pipes that package net keeps in a
		// sync.Pool: only the collector closes them.
		runtime.GC()
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	addr, udpAddr := listen(t, echo), listenUDP(t)
	before := count()
	n := openNetwork(t, netstack.Config{}, nil)
	g := newGuest(t, n, "192.168.127.2")
	for range 10 {
		c := g.mustDial(loopback(n, addr))
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		u := g.dialUDP(loopback(n, udpAddr))
		if _, err := u.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := u.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if c := count(); c < before+20 {
		t.Errorf("%d descriptors with 20 flows, %d before: what is counted?", c, before)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	// The listener's own ends close when it sees the resets.
	wait(t, "descriptors to be closed", func() bool { return count() <= before })
}
