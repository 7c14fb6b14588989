package hostnet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

func TestAdd(t *testing.T) {
	var inUse []netip.Prefix
	for _, p := range []string{
		"0.0.0.0/0", "0.0.0.0/1", "192.168.0.7/24", "10.0.0.0/8", "127.0.0.1/8", "224.0.0.0/8", "::/0", "fd00::1/64", "::1/128", "ff00::/8",
	} {
		inUse = add(inUse, netip.MustParsePrefix(p))
	}
	if want := "[192.168.0.0/24 10.0.0.0/8 fd00::/64]"; fmt.Sprint(inUse) != want {
		t.Errorf("in use %v, want %s", inUse, want)
	}
}

// TestList reads again what changed, but not for ever.
func TestList(t *testing.T) {
	for bad, want := range map[int]bool{0: true, tries - 1: true, tries: false} {
		n := 0
		got, err := list(func() ([]int, error) {
			if n++; n <= bad {
				return nil, netlink.ErrDumpInterrupted
			}
			return []int{n}, nil
		})
		if (err == nil) != want || want && got[0] != bad+1 {
			t.Errorf("%d interruptions: %v, %v", bad, got, err)
		}
	}
}

func TestFromIPNet(t *testing.T) {
	for in, want := range map[*net.IPNet]string{
		{IP: net.IPv4(10, 1, 2, 3), Mask: net.CIDRMask(8, 32)}:          "10.1.2.3/8",
		{IP: net.ParseIP("fd00::1"), Mask: net.CIDRMask(64, 128)}:       "fd00::1/64",
		{IP: net.IPv4(10, 1, 2, 3), Mask: net.IPv4Mask(255, 0, 255, 0)}: "invalid Prefix",
		{IP: net.IPv4(10, 1, 2, 3), Mask: net.CIDRMask(100, 128)}:       "invalid Prefix",
		{IP: nil, Mask: nil}: "invalid Prefix",
		nil:                  "invalid Prefix",
	} {
		if got := fromIPNet(in).String(); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
}

// TestInUse reads this host: every address of an interface that is up must be in
// one of the prefixes. The host may get another address between the two looks.
func TestInUse(t *testing.T) {
	var missing string
	for range 100 {
		if missing = notInUse(t); missing == "" {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Error(missing)
}

// notInUse tells of an address of the host that InUse leaves out.
func notInUse(t *testing.T) string {
	t.Helper()
	got, err := InUse()
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		p := fromIPNet(a.(*net.IPNet))
		if p.Addr().IsLoopback() {
			continue
		}
		if !slices.ContainsFunc(got, func(q netip.Prefix) bool { return q.Contains(p.Addr()) }) {
			return fmt.Sprintf("%v is not in use by %v", p, got)
		}
	}
	return ""
}
