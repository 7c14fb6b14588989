package ipam_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/ipamtest"
)

// FuzzRecords changes one record of a store to anything: Verify and every
// operation must end in an error or in order, not in a panic; and what Verify
// passes, the operations must be able to live with.
func FuzzRecords(f *testing.F) {
	tables := ipam.Tables()
	base := func() ipam.Store {
		s := ipam.NewMemoryStore()
		a := ipam.New(s, ipam.Config{})
		for _, id := range []string{"a", "b", "c"} {
			if _, err := a.Allocate(context.Background(), ipam.Request{Key: ipamtest.Key(id), Pools: []ipam.Pool{ipamtest.Small()}}); err != nil {
				panic(err)
			}
		}
		if err := a.Release(context.Background(), ipamtest.Key("b")); err != nil {
			panic(err)
		}
		return s
	}
	seed := base()
	for i, table := range tables {
		err := seed.Transact(context.Background(), ipam.ReadOnly, func(tx ipam.Tx) error {
			return tx.Scan(table, nil, func(k, v []byte) bool { f.Add(i, k, v); return true })
		})
		if err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, table int, key, value []byte) {
		s := base()
		name := tables[(table%len(tables)+len(tables))%len(tables)]
		err := s.Transact(context.Background(), ipam.ReadWrite, func(tx ipam.Tx) error { return tx.Put(name, key, value) })
		if err != nil {
			t.Fatal(err)
		}
		bad := s.Transact(context.Background(), ipam.ReadOnly, ipam.Verify)
		if bad != nil && !errors.Is(bad, ipam.ErrCorrupt) {
			t.Errorf("Verify: %v", bad)
		}
		a := ipam.New(s, ipam.Config{MaxReleased: 1})
		var errs []error
		for i := range 6 {
			_, err := a.Allocate(context.Background(), ipam.Request{Key: ipamtest.Key(fmt.Sprint(i)), Pools: []ipam.Pool{ipamtest.Small()}})
			errs = append(errs, err)
		}
		for _, id := range []string{"a", "b", "c", "0", "1"} {
			errs = append(errs, a.Release(context.Background(), ipamtest.Key(id)))
		}
		_, err = a.List(context.Background(), "")
		errs = append(errs, err)
		for _, err := range errs {
			if bad == nil && err != nil && !errors.Is(err, ipam.ErrExhausted) {
				t.Errorf("Verify was content, but: %v", err)
			}
		}
		if bad == nil {
			ipamtest.CheckStore(t, s)
		}
	})
}
