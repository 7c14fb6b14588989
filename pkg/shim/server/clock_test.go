package server_test

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/boltstore"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// The clock of the machine jumps ten years back and forth: leases do not end by
// it, guests get the same answer, addresses are given once.
func TestClockJumps(t *testing.T) {
	cfg := config(newDirs(t))
	store, err := boltstore.Open(filepath.Join(cfg.Dirs.State, "leases.db"), boltstore.Config{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	var jump atomic.Int64
	// Without a monotonic reading, as after a restart.
	cfg.Leases = ipam.New(store, ipam.Config{Now: func() time.Time { return time.Now().Round(0).Add(time.Duration(jump.Load())) }})
	t.Cleanup(func() { _ = cfg.Leases.Close() })
	r := start(t, cfg)
	first := r.attach("n", "first", shim.AttachRequest{})
	m, f, err := r.Frames(t.Context(), "n", "first", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	c := conn(t, f)
	has := map[string]string{first.IPs[0].Address.String(): "first"}
	for _, years := range []int{-10, 10, -10, 0} {
		jump.Store(int64(time.Duration(years) * 365 * 24 * time.Hour))
		for _, id := range []string{"a", "b"} {
			a := r.attach("n", id, shim.AttachRequest{})
			if by := has[a.IPs[0].Address.String()]; by != "" && by != id {
				t.Errorf("%s is given to %s and to %s", a.IPs[0].Address, by, id)
			}
			has[a.IPs[0].Address.String()] = id
		}
		if got := offered(t, m, c); got != first.IPs[0].Address.Addr().String() {
			t.Errorf("%d years away the guest is offered %s", years, got)
		}
		for _, id := range []string{"a", "b"} {
			if err := r.Detach(t.Context(), "n", id, "eth0"); err != nil {
				t.Error(err)
			}
			for addr, by := range has {
				if by == id {
					delete(has, addr)
				}
			}
		}
	}
	if u, err := r.Status(t.Context()); err != nil || u.UptimeSeconds < 0 || u.UptimeSeconds > 600 {
		t.Errorf("uptime %+v, %v", u, err)
	}
}
