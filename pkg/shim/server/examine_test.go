package server_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/port"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A watched driver keeps the devices that it started, so that a test can change
// them behind the server's back.
type watched struct {
	vmnet.Driver
	started []vmnet.Device
}

func (w *watched) Open(ctx context.Context, cfg vmnet.NetworkConfig) (vmnet.Network, error) {
	n, err := w.Driver.Open(ctx, cfg)
	return &watchedNetwork{n, w}, err
}

type watchedNetwork struct {
	vmnet.Network
	w *watched
}

func (n *watchedNetwork) Start(ctx context.Context, cfg vmnet.Config) (vmnet.Device, error) {
	d, err := n.Network.Start(ctx, cfg)
	n.w.started = append(n.w.started, d)
	return d, err
}

// GET of an attachment tells of what broke since it was made, which nobody told
// the shim: CNI CHECK asks it.
func TestExamine(t *testing.T) {
	cfg := config(newDirs(t))
	w := &watched{Driver: cfg.Drivers[shim.DriverNetstack]}
	cfg.Drivers[shim.DriverNetstack] = w
	r := start(t, cfg)
	local := netip.MustParseAddr("127.0.0.1")
	free := port.Free(t, 2)
	forwards := []shim.Forward{
		{Protocol: "tcp", HostIP: local, HostPort: free[0], ContainerPort: 80},
		{Protocol: "udp", HostPort: free[1], ContainerPort: 53},
	}
	made := r.attach("n", "c", shim.AttachRequest{Forwards: forwards})
	get := func() shim.Attachment {
		t.Helper()
		a, err := r.Attachment(t.Context(), "n", "c", "eth0")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := get(); a.Problem != "" || !slices.Equal(a.Forwards, made.Forwards) {
		t.Errorf("unharmed: problem %q, forwards %v", a.Problem, a.Forwards)
	}

	dev := w.started[0]
	rules, err := dev.(vmnet.Forwarder).Forwards(t.Context())
	if err != nil || len(rules) != 2 {
		t.Fatalf("rules %v, %v", rules, err)
	}
	if err := dev.(vmnet.Forwarder).RemoveForward(t.Context(), rules[0]); err != nil {
		t.Fatal(err)
	}
	if a := get(); !strings.Contains(a.Problem, "forward tcp 127.0.0.1:") || !slices.Equal(a.Forwards, made.Forwards[1:]) {
		t.Errorf("without a forward: problem %q, forwards %v", a.Problem, a.Forwards)
	}

	r.attach("n", "d", shim.AttachRequest{})
	_ = w.started[1].Close() // and nobody sends a frame
	if a, err := r.Attachment(t.Context(), "n", "d", "eth0"); err != nil || !strings.Contains(a.Problem, "relay") {
		t.Errorf("with an interface that has ended: problem %q, %v", a.Problem, err)
	}
	if err := r.Detach(t.Context(), "n", "c", "eth0"); err != nil {
		t.Error(err)
	}
	if err := r.Detach(t.Context(), "n", "d", "eth0"); err != nil {
		t.Error(err)
	}
}

// TestExamineForward6 looks for a forward from an IPv6 address of the host, which leads
// to the guest's second address.
func TestExamineForward6(t *testing.T) {
	cfg := config(newDirs(t))
	cfg.Drivers[shim.DriverNetstack] = &stayer{Driver: cfg.Drivers[shim.DriverNetstack], did: map[string]int{}}
	r := start(t, cfg)
	made := r.attach("n", "c", shim.AttachRequest{Forwards: []shim.Forward{
		{HostIP: netip.IPv6Loopback(), HostPort: 80, ContainerPort: 80}, {HostPort: 81, ContainerPort: 80},
	}})
	if a, err := r.Attachment(t.Context(), "n", "c", "eth0"); err != nil || a.Problem != "" || !slices.Equal(a.Forwards, made.Forwards) {
		t.Errorf("problem %q, forwards %v, %v, want %v", a.Problem, a.Forwards, err, made.Forwards)
	}
}
