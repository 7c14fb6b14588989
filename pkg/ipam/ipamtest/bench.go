package ipamtest

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// BenchmarkStore times an allocation, a look-up and a release in a /16 of which
// a thousand addresses are held. It closes the store.
func BenchmarkStore(b *testing.B, s ipam.Store) {
	a := ipam.New(s, ipam.Config{})
	defer func() {
		if err := a.Close(); err != nil {
			b.Error(err)
		}
	}()
	ctx := context.Background()
	pools := []ipam.Pool{ipam.SubnetPool("small", netip.MustParsePrefix("10.0.0.0/16"), netip.Addr{})}
	key := func(i int) ipam.Key { return Key(fmt.Sprintf("%064x", i)) }
	for i := range 1000 {
		if _, err := a.Allocate(ctx, ipam.Request{Key: key(i), Pools: pools}); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("AllocateRelease", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := a.Allocate(ctx, ipam.Request{Key: key(1000 + i), Pools: pools}); err != nil {
				b.Fatal(err)
			}
			if err := a.Release(ctx, key(1000+i)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Again", func(b *testing.B) {
		for b.Loop() {
			if _, err := a.Allocate(ctx, ipam.Request{Key: key(7), Pools: pools}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Lookup", func(b *testing.B) {
		for b.Loop() {
			if _, err := a.Lookup(ctx, key(7)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
