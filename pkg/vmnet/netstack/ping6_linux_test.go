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
)

// TestPingOutside6 is TestPingOutside for IPv6.
func TestPingOutside6(t *testing.T) {
	require.Root(t)
	require.IPv6(t)
	const outside = "2001:db8::1"
	runtime.LockOSThread() // never unlocked, so the thread ends with the test's goroutine
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
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(outside), Mask: net.CIDRMask(128, 128)}, Flags: unix.IFA_F_NODAD}
	if err := netlink.AddrAdd(lo, addr); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0); err != nil {
		t.Skipf("allow ping: %v", err)
	}
	wait(t, "the namespace's IPv6", func() bool { return pingsItself(outside) })
	n := open6(t, nil)
	g := newGuest(t, n, "fd00:127::2")
	for _, size := range []int{0, 56, 1400} {
		data := bytes.Repeat([]byte{0x77}, size)
		g.sendIP(g.packet6(58, "fd00:127::2", outside, 64, echoRequest6(4711, 3, data)))

		src, msg := g.nextICMP6()
		if src.String() != outside || msg[0] != 129 || msg[4] != 0x12 || msg[5] != 0x67 || msg[7] != 3 || !bytes.Equal(msg[8:], data) {
			t.Errorf("from %s: % x, want the echo of %d bytes with the guest's identifier", src, msg[:8], size)
		}
	}
	if s := n.Stats().Ping; s.Open != 1 || s.Total != 1 {
		t.Errorf("flows: %+v, want one", s)
	}
}

// pingsItself reports whether an address of the host's own answers.
func pingsItself(addr string) bool {
	c, err := icmp.ListenPacket("udp6", "::")
	if err != nil {
		return false
	}
	defer c.Close()
	if _, err := c.WriteTo(echoRequest6(1, 1, nil), &net.UDPAddr{IP: net.ParseIP(addr)}); err != nil {
		return false
	}
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, _, err = c.ReadFrom(make([]byte, 100))
	return err == nil
}
