package server_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A stayer is a driver that leaves things in the system, as driver tap does, and
// refuses forwards as long as a test likes.
type stayer struct {
	vmnet.Driver

	mu     sync.Mutex // guards all following
	did    map[string]int
	refuse bool
}

func (s *stayer) do(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.did[what]++
}

// set lets forwards be or not, and returns what was done since the last time.
func (s *stayer) set(refuse bool) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.did
	s.did, s.refuse = map[string]int{}, refuse
	return was
}

func (s *stayer) times(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.did[what]
}

func (s *stayer) Sweep(context.Context) error { s.do("sweep"); return nil }

func (s *stayer) Open(ctx context.Context, cfg vmnet.NetworkConfig) (vmnet.Network, error) {
	n, err := s.Driver.Open(ctx, cfg)
	return &stayingNetwork{n, s}, err
}

type stayingNetwork struct {
	vmnet.Network
	s *stayer
}

func (n *stayingNetwork) Close() error { n.s.do("close network"); return n.Network.Close() }
func (n *stayingNetwork) Leave() error { n.s.do("leave network"); return n.Network.Close() }

func (n *stayingNetwork) Start(ctx context.Context, cfg vmnet.Config) (vmnet.Device, error) {
	d, err := n.Network.Start(ctx, cfg)
	return &stayingDevice{Device: d, s: n.s}, err
}

type stayingDevice struct {
	vmnet.Device
	s    *stayer
	list []vmnet.Forward // guarded by s.mu
}

func (d *stayingDevice) Close() error { d.s.do("close"); return d.Device.Close() }
func (d *stayingDevice) Leave() error { d.s.do("leave"); return d.Device.Close() }

func (d *stayingDevice) AddForward(_ context.Context, f vmnet.Forward) error {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	if d.s.refuse {
		return errors.New("in the way")
	}
	d.list = append(d.list, f)
	return nil
}

func (d *stayingDevice) RemoveForward(context.Context, vmnet.Forward) error { return nil }

func (d *stayingDevice) Forwards(context.Context) ([]vmnet.Forward, error) {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	return slices.Clone(d.list), nil
}

// TestBackLater has something be in the way of an attachment that is to come back: what
// its guest has in the system stays until it is back, and goes with a DELETE.
func TestBackLater(t *testing.T) {
	cfg, s := config(newDirs(t)), newShelf(t)
	drv := &stayer{Driver: cfg.Drivers[shim.DriverNetstack], did: map[string]int{}}
	cfg.Drivers[shim.DriverNetstack], cfg.Files, cfg.KeepSocket = drv, s, true
	r := start(t, cfg)
	req := shim.AttachRequest{Forwards: []shim.Forward{{HostPort: 80, ContainerPort: 80}}}
	a := r.attach("n", "c", req)
	m, f, err := r.Frames(t.Context(), "n", "c", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	drv.set(true)
	r = again(t, r, cfg, s)
	eventually(t, func() bool { return drv.times("leave") > 2 }, func() string { return "not tried again" })
	if b, err := r.Attachment(t.Context(), "n", "c", "eth0"); err != nil || !strings.Contains(b.Problem, "in the way") {
		t.Errorf("%+v, %v, want a problem", b, err)
	}
	if _, err := r.Attach(t.Context(), "n", "c", "eth0", req); err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Errorf("PUT: %v", err)
	}
	if did := drv.set(false); did["close"] > 0 || did["close network"] > 0 || did["sweep"] > 0 {
		t.Errorf("while it is not back: %v", did)
	}
	eventually(t, func() bool { return drv.times("sweep") > 0 }, func() string { return "back, but nothing was swept" })
	if got := offered(t, m, c); got != a.IPs[0].Address.Addr().String() {
		t.Errorf("back: %s", got)
	}
	if err := r.Detach(t.Context(), "n", "c", "eth0"); err != nil {
		t.Error(err)
	}
	if did := drv.set(true); did["close"] != 1 || did["close network"] != 1 || did["sweep"] != 1 {
		t.Errorf("back and deleted: %v", did)
	}
}

// TestDeleteNotBack deletes an attachment that has not come back: then its driver may
// sweep.
func TestDeleteNotBack(t *testing.T) {
	cfg, s := config(newDirs(t)), newShelf(t)
	drv := &stayer{Driver: cfg.Drivers[shim.DriverNetstack], did: map[string]int{}}
	cfg.Drivers[shim.DriverNetstack], cfg.Files, cfg.KeepSocket = drv, s, true
	r := start(t, cfg)
	r.attach("n", "c", shim.AttachRequest{Forwards: []shim.Forward{{HostPort: 80, ContainerPort: 80}}})
	drv.set(true)
	r = again(t, r, cfg, s)
	if err := r.Detach(t.Context(), "n", "c", "eth0"); err != nil {
		t.Error(err)
	}
	eventually(t, func() bool { return drv.times("sweep") == 1 }, func() string { return "nothing was swept" })
	if len(s.files) != 0 {
		t.Errorf("still kept: %v", slices.Collect(maps.Keys(s.files)))
	}
}

// TestHalfDeleted has a DELETE fail for want of the lease store, while another
// attachment is still to come back: what is half deleted does not come back with it,
// and a PUT makes it anew, state file and all.
func TestHalfDeleted(t *testing.T) {
	store := &flaky{Store: ipam.NewMemoryStore()}
	cfg := config(newDirs(t))
	drv := &stayer{Driver: cfg.Drivers[shim.DriverNetstack], did: map[string]int{}}
	cfg.Drivers[shim.DriverNetstack] = drv
	cfg.Leases = ipam.New(store, ipam.Config{Machine: "m"})
	r := start(t, cfg)
	r.attach("n", "half", shim.AttachRequest{RequestID: "1"})
	forwards := shim.AttachRequest{Forwards: []shim.Forward{{HostPort: 80, ContainerPort: 80}}}
	r.attach("m", "awaited", forwards)
	r.stop()
	drv.set(true)
	r = start(t, cfg)
	store.down.Store(true)
	if err := r.Detach(t.Context(), "n", "half", "eth0"); err == nil {
		t.Error("deleted without the lease store")
	}
	if _, err := r.Attach(t.Context(), "n", "half", "eth0", shim.AttachRequest{}); err == nil || !strings.Contains(err.Error(), "detach") {
		t.Errorf("PUT without the lease store: %v", err)
	}
	store.down.Store(false)
	drv.set(false)
	back := func() bool {
		a, err := r.Attachment(t.Context(), "m", "awaited", "eth0")
		return err == nil && a.Problem == ""
	}
	eventually(t, back, func() string { return "the other is not back" })
	if a, err := r.Attachment(t.Context(), "n", "half", "eth0"); err == nil && a.Problem == "" {
		t.Errorf("half deleted, and back: %+v", a)
	}
	r.attach("n", "half", shim.AttachRequest{RequestID: "2"})
	r.stop()
	r = start(t, cfg)
	if a, err := r.Attachment(t.Context(), "n", "half", "eth0"); err != nil || a.Problem != "" {
		t.Errorf("after a restart: %+v, %v", a, err)
	}
}
