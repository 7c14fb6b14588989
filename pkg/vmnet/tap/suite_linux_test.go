package tap_test

import (
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/vmnet-cni/vmnet/internal/ownns"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/tap"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/vmnettest"
)

// long is the variable that asks for everything, which takes some minutes.
const long = "VMNET_TAP_LONG"

func newDriver(t testing.TB) *tap.Driver {
	t.Helper()
	return tap.New(tap.Config{Owner: t.Name(), Log: t.Logf})
}

var (
	subnet  = netip.MustParsePrefix("192.168.127.0/24")
	subnet6 = netip.MustParsePrefix("fd00:127::/64")
)

func TestContract(t *testing.T) {
	ownns.Needs(t)
	uplink := cable(t, "up0", "")
	addressed := cable(t, "up1", "10.9.9.1/24")
	for name, cfg := range map[string]vmnet.NetworkConfig{
		"shared":           {Subnet: subnet, Subnet6: subnet6},
		"host":             {Mode: vmnet.Host, Subnet: subnet},
		"layer 2":          {Layer2: true},
		"bridged":          {Mode: vmnet.Bridged, Uplink: uplink},
		"bridged, macvtap": {Mode: vmnet.Bridged, Uplink: addressed},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "shared" && os.Getenv(long) == "" {
				t.Skipf("only with %s=1, for the time it takes", long)
			}
			cfg.Name = "suite"
			vmnettest.TestDriver(t, vmnettest.Harness{Driver: newDriver(t), Network: cfg})
		})
	}
}

// cable makes an uplink, name, with a LAN behind it: a veth whose other end is
// name+"-lan", for the length of the test.
func cable(t testing.TB, name, addr string) string {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	l := &netlink.Veth{LinkAttrs: attrs, PeerName: name + "-lan"}
	if err := netlink.LinkAdd(l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(l) })
	if addr != "" {
		a, err := netlink.ParseAddr(addr)
		if err == nil {
			err = netlink.AddrAdd(l, a)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, end := range []string{name, name + "-lan"} {
		l, err := netlink.LinkByName(end)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return name
}
