package netstack_test

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// TestFilesDoNotBlock asks for the descriptors of sockets that are at work, as whoever
// keeps them may: the sockets do not block then, and can be closed.
func TestFilesDoNotBlock(t *testing.T) {
	dev := startDevice(t, openNetwork(t, netstack.Config{}, nil))
	inside := netip.MustParseAddrPort("192.168.127.2:80")
	for _, p := range []vmnet.Protocol{vmnet.TCP, vmnet.UDP} {
		if err := dev.(vmnet.Forwarder).AddForward(t.Context(), vmnet.Forward{Protocol: p, External: freePort(t), Internal: inside}); err != nil {
			t.Fatal(err)
		}
	}
	for name, f := range dev.(vmnet.FileHolder).Files() {
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("%s: flags %#x, %v, want it not to block", name, flags, err)
		}
	}
}

// TestFiles has a second network go on with the sockets of the forwards of a first
// one, as a shim does that takes over.
func TestFiles(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	dev, err := n.Start(t.Context(), vmnet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	holder := dev.(vmnet.FileHolder)
	holder.OnFiles(func() { told++ })
	inside := netip.MustParseAddrPort("192.168.127.2:80")
	tcp := vmnet.Forward{Protocol: vmnet.TCP, External: freePort(t), Internal: inside}
	udp := vmnet.Forward{Protocol: vmnet.UDP, External: netip.AddrPortFrom(netip.Addr{}, freePort(t).Port()), Internal: inside}
	for _, rule := range []vmnet.Forward{tcp, udp} {
		if err := dev.(vmnet.Forwarder).AddForward(t.Context(), rule); err != nil {
			t.Fatal(err)
		}
	}
	files := holder.Files()
	if len(files) != 2 || told != 2 {
		t.Fatalf("files %v, told %d times", files, told)
	}
	kept := map[string]*os.File{"other": nil}
	for name, f := range files {
		if tc, err := net.FileListener(f); err == nil {
			kept[name], err = tc.(*net.TCPListener).File()
			_ = tc.Close()
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		uc, err := net.FilePacketConn(f)
		if err != nil {
			t.Fatal(err)
		}
		kept[name], err = uc.(*net.UDPConn).File()
		_ = uc.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	delete(kept, "other")
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	// Nobody accepts, and still the port is open.
	c, err := net.Dial("tcp4", tcp.External.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	next, err := n.Start(t.Context(), vmnet.Config{Files: kept})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	for _, rule := range []vmnet.Forward{tcp, udp} {
		if err := next.(vmnet.Forwarder).AddForward(t.Context(), rule); err != nil {
			t.Fatalf("the port is kept, and %v", err)
		}
	}
	if files := next.(vmnet.FileHolder).Files(); len(files) != 2 {
		t.Errorf("files %v", files)
	}
	if err := next.(vmnet.Forwarder).RemoveForward(t.Context(), tcp); err != nil {
		t.Fatal(err)
	}
	if files := next.(vmnet.FileHolder).Files(); len(files) != 1 {
		t.Errorf("after the removal: %v", files)
	}
}
