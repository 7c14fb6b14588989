package server

import (
	"net/netip"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// TestFindStrays: leases without attachment are found, unless they may be those of
// records that are damaged.
func TestFindStrays(t *testing.T) {
	for _, keep := range []bool{false, true} {
		leases := ipam.New(ipam.NewMemoryStore(), ipam.Config{})
		k := ipam.Key{Network: "n", ContainerID: "c", IfName: "eth0"}
		pool := ipam.SubnetPool("n", netip.MustParsePrefix("192.0.2.0/24"), netip.Addr{})
		if _, err := leases.Allocate(t.Context(), ipam.Request{Key: k, Pools: []ipam.Pool{pool}}); err != nil {
			t.Fatal(err)
		}
		s := &Server{cfg: Config{Leases: leases}, arrears: arrears{due: make(chan struct{}, 1)}, keepStrays: keep}
		if err := s.findStrays(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, strays := s.arrears.take(); strays[k] == keep {
			t.Errorf("kept %t: found %v", keep, strays)
		}
	}
}
