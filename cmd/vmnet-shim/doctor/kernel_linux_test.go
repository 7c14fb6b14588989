package doctor_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/cmd/vmnet-shim/doctor"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink"
)

// TestKernel examines a namespace in which a shim with driver tap left a bridge and
// a table, and a VPN took the subnet of a configured network.
func TestKernel(t *testing.T) {
	require.Root(t)
	require.NetNS(t)
	nft := require.Tool(t, "nft")
	dir := t.TempDir()
	t.Setenv("VMNET_RUNTIME_DIR", dir+"/r")
	t.Setenv("VMNET_STATE_DIR", dir+"/s")
	t.Setenv("NETCONFPATH", dir)
	must(t, os.WriteFile(dir+"/a.conf", []byte(`{"cniVersion":"1.1.0","name":"a","type":"vmnet","subnet":"10.9.0.0/24"}`), 0o644))
	var r doctor.Report
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return os.NewSyscallError("unshare", err)
			}
			left := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "vmb0123456789"}}
			tun := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "tun7"}}
			addr, err := netlink.ParseAddr("10.9.0.1/16")
			err = errors.Join(err, netlink.LinkAdd(left), netlink.LinkSetAlias(left, "vmnet:01234567:old:shared"), netlink.LinkAdd(tun), netlink.LinkSetUp(tun), netlink.AddrAdd(tun, addr))
			if err != nil {
				return err
			}
			if out, err := exec.Command(nft, "add table inet vmnet-01234567-vmb9876543210").CombinedOutput(); err != nil {
				return errors.New(string(out))
			}
			m, err := doctor.Here("v1", 0)
			if err == nil {
				r = doctor.Examine(t.Context(), m)
			}
			return err
		}()
	}()
	must(t, <-done)
	for _, want := range []string{
		"link vmb0123456789 (vmnet:01234567:old:shared) is of network old", "table inet vmnet-01234567-vmb9876543210 of nftables", "overlaps 10.9.0.0/16 on tun7 (a VPN, by its name)",
	} {
		found := false
		for _, f := range r.Findings {
			found = found || strings.Contains(f.What, want)
		}
		if !found {
			t.Errorf("no %q among %+v", want, r.Findings)
		}
	}
}
