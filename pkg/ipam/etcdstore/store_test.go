package etcdstore_test

import (
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/etcdstore"
	"github.com/vmnet-cni/vmnet/pkg/ipam/ipamtest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	endpoint, _ := single(t, fastDir(t))
	prefix := prefixes()
	ready(t, open(t, etcdstore.Config{Endpoints: []string{endpoint}}))
	t.Run("Plain", func(t *testing.T) {
		ipamtest.TestStore(t, func(t *testing.T) ipam.Store {
			return open(t, etcdstore.Config{Endpoints: []string{endpoint}, Prefix: prefix()})
		})
	})
	t.Run("Machine", func(t *testing.T) {
		ipamtest.TestStore(t, func(t *testing.T) ipam.Store {
			return open(t, etcdstore.Config{Endpoints: []string{endpoint}, Prefix: prefix(), Machine: "m"})
		})
	})
}

func BenchmarkStore(b *testing.B) {
	for name, dir := range map[string]func(testing.TB) string{
		"Memory": fastDir, "Disk": func(t testing.TB) string { return t.TempDir() },
	} {
		b.Run(name, func(b *testing.B) {
			endpoint, _ := single(b, dir(b))
			ipamtest.BenchmarkStore(b, open(b, etcdstore.Config{Endpoints: []string{endpoint}, Machine: "m"}))
		})
	}
}
