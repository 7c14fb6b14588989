package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// limited is a driver that lets a guest have two interfaces.
type limited struct{ vmnet.Driver }

func (limited) MaxGuestInterfaces() int { return 2 }

// TestGuestLimit counts a guest's interfaces over all networks of its driver.
func TestGuestLimit(t *testing.T) {
	cfg := config(newDirs(t))
	netstack := cfg.Drivers[shim.DriverNetstack]
	cfg.Drivers[shim.DriverVmnet] = netstack
	f := &faulty{Driver: netstack}
	cfg.Drivers[shim.DriverNetstack] = limited{f}
	r := start(t, cfg)
	before := r.census()
	attach := func(r *running, network, id, ifname string, req shim.AttachRequest) error {
		_, err := r.Attach(t.Context(), network, id, ifname, req)
		return err
	}
	want := func(err error, code shim.Code) {
		t.Helper()
		if shim.CodeOf(err) != code || err != nil && !strings.Contains(err.Error(), `containerID "c": has 2 interfaces of driver netstack, which allows no more for one guest`) {
			t.Errorf("%v, want %q", err, code)
		}
	}
	f.start = func(context.Context) error { return vmnet.Failure }
	if err := attach(r, "a", "c", "eth0", shim.AttachRequest{}); shim.CodeOf(err) != shim.CodeInternal {
		t.Errorf("start that fails: %v", err)
	}
	f.start = nil // what failed does not count
	// However many come at once, two get in.
	var wg sync.WaitGroup
	var got atomic.Int32
	for i := range 6 {
		wg.Go(func() {
			err := attach(r, []string{"a", "b"}[i%2], "c", fmt.Sprintf("eth%d", i), shim.AttachRequest{})
			if err == nil {
				got.Add(1)
			} else {
				want(err, shim.CodeExhausted)
			}
		})
	}
	wg.Wait()
	if got.Load() != 2 {
		t.Errorf("%d interfaces, want 2", got.Load())
	}
	want(attach(r, "a", "other", "eth0", shim.AttachRequest{}), "")
	want(attach(r, "v", "c", "eth0", shim.AttachRequest{Network: shim.NetworkSpec{Driver: shim.DriverVmnet}}), "") // another driver
	r.stop()
	r = start(t, cfg) // what comes back counts
	atts, err := r.Attachments(t.Context())
	if err != nil || len(atts) != 4 {
		t.Fatalf("%d attachments, %v", len(atts), err)
	}
	want(attach(r, "a", "c", "eth9", shim.AttachRequest{}), shim.CodeExhausted)
	// Which two of the six got in is chance, but both are container c's.
	first := atts[slices.IndexFunc(atts, func(a shim.Attachment) bool { return a.ContainerID == "c" && a.Network != "v" })]
	if first.Problem != "" || first.ContainerID != "c" {
		t.Fatalf("first %+v", first)
	}
	if err := r.Detach(t.Context(), first.Network, "c", first.IfName); err != nil {
		t.Error(err)
	}
	want(attach(r, "b", "c", "eth9", shim.AttachRequest{}), "")
	for _, n := range []string{"a", "b", "v"} {
		if _, err := r.GC(t.Context(), n, nil); err != nil {
			t.Error(err)
		}
	}
	r.nothingLeft(before)
}

// TestGuestLimitOfVmnet has the fifth interface of a guest refused for the real
// driver, before the framework is asked.
func TestGuestLimitOfVmnet(t *testing.T) {
	for _, release := range []int{260000, 150000} {
		t.Run(fmt.Sprint(release), func(t *testing.T) {
			c, _ := spawnVmnet(t, release)
			req := onVmnet("192.168.77.0/24")
			for i := range 5 {
				_, err := c.Attach(t.Context(), "n", "c", fmt.Sprintf("eth%d", i), req)
				if i == 4 {
					if shim.CodeOf(err) != shim.CodeExhausted || !strings.Contains(err.Error(), "has 4 interfaces of driver vmnet") {
						t.Errorf("the fifth: %v, want exhausted", err)
					}
				} else if err != nil {
					t.Errorf("interface %d: %v", i, err)
				}
			}
			if _, err := c.Attach(t.Context(), "n", "d", "eth0", req); err != nil {
				t.Errorf("another guest: %v", err)
			}
		})
	}
}
