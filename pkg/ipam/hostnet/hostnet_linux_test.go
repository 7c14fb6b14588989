package hostnet

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink"
)

// TestInUseOfKernel finds an address and routes that it made, one of them in
// another table, where VPNs keep theirs.
func TestInUseOfKernel(t *testing.T) {
	require.NetNS(t)
	var got []netip.Prefix
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		done <- func() (err error) {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return os.NewSyscallError("unshare", err)
			}
			br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br"}}
			addr, err := netlink.ParseAddr("10.9.0.1/24")
			if err := errors.Join(err, netlink.LinkAdd(br), netlink.LinkSetUp(br), netlink.AddrAdd(br, addr)); err != nil {
				return err
			}
			for dst, table := range map[string]int{"10.10.0.0/16": unix.RT_TABLE_MAIN, "10.11.0.0/16": 51820, "0.0.0.0/1": unix.RT_TABLE_MAIN} {
				n, err := netlink.ParseIPNet(dst)
				if err == nil {
					err = netlink.RouteAdd(&netlink.Route{LinkIndex: br.Index, Dst: n, Table: table})
				}
				if err != nil {
					return err
				}
			}
			got, err = InUse()
			return err
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for want, in := range map[string]bool{"10.9.0.0/24": true, "10.10.0.0/16": true, "10.11.0.0/16": true, "0.0.0.0/1": false} {
		if slices.Contains(got, netip.MustParsePrefix(want)) != in {
			t.Errorf("%s in use: want %v, of %v", want, in, got)
		}
	}
}
