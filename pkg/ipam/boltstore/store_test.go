package boltstore_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/boltstore"
	"github.com/vmnet-cni/vmnet/pkg/ipam/ipamtest"
)

// open opens a store at path that must not be found damaged.
func open(t testing.TB, path string, cfg boltstore.Config) *boltstore.Store {
	t.Helper()
	if cfg.OnDamage == nil {
		cfg.OnDamage = func(d boltstore.Damage) { t.Errorf("damaged: %v", d.Err) }
	}
	s, err := boltstore.Open(path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	ipamtest.TestStore(t, func(t *testing.T) ipam.Store {
		return open(t, filepath.Join(t.TempDir(), "leases.db"), boltstore.Config{})
	})
}

// TestStoreSyncAfter is TestStore where the disk is behind: some transactions meet
// a sync, some end before one.
func TestStoreSyncAfter(t *testing.T) {
	ipamtest.TestStore(t, func(t *testing.T) ipam.Store {
		return open(t, filepath.Join(t.TempDir(), "leases.db"), boltstore.Config{SyncAfter: time.Millisecond})
	})
}
