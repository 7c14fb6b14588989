package framework

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func TestExplain(t *testing.T) {
	const entitlement, rootOnly = "com.apple.security.virtualization", "run as root, or use the driver netstack"
	for _, c := range []struct {
		name       string
		refusal    refusal
		permission bool
		want       string
	}{
		{"classic before 26", refusal{call: callStart, code: vmnet.Failure}, true, rootOnly},
		{"classic on 26", refusal{call: callStart, code: vmnet.Failure, modern: true}, true, entitlement},
		{"classic as root", refusal{call: callStart, code: vmnet.Failure, root: true, what: "subnet 10.0.0.0/24"}, false, "subnet 10.0.0.0/24 is in use"},
		{"bridged as root", refusal{call: callStart, code: vmnet.Failure, root: true, mode: vmnet.Bridged}, false, "uplink cannot be bridged"},
		{"create unsigned", refusal{call: callCreate, code: vmnet.MemFailure, modern: true}, true, "codesign -f -s -"},
		{"create without memory", refusal{call: callCreate, code: vmnet.MemFailure, modern: true, root: true}, false, "memory could not be allocated (1002)"},
		{"join unsigned", refusal{call: callJoin, code: vmnet.MemFailure, modern: true}, true, "codesign -f -s -"},
		{"join without memory", refusal{call: callJoin, code: vmnet.MemFailure, modern: true, root: true}, false, "memory could not be allocated (1002)"},
		{"create, subnet taken", refusal{call: callCreate, code: vmnet.Failure, modern: true, what: "subnet 10.0.0.0/24"}, false, "subnet 10.0.0.0/24 is in use"},
		{"start on an open network", refusal{call: callStartWith, code: vmnet.Failure, modern: true, opened: true}, false, "~/Documents"},
		{"not authorized", refusal{call: callStart, code: vmnet.NotAuthorized, root: true}, true, rootOnly},
		{"invalid access", refusal{call: callStart, code: vmnet.InvalidAccess, modern: true}, true, entitlement},
		{"busy", refusal{call: callStart, code: vmnet.ServiceBusy, what: "subnet 10.0.0.0/24"}, false, "turn off Internet Sharing"},
		{"invalid", refusal{call: callStart, code: vmnet.InvalidArgument, what: "uplink en9"}, false, "uplink en9 was not accepted"},
		{"unknown", refusal{call: callStart, code: 4711}, false, "unknown status 4711"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.refusal.explain()
			if !errors.Is(err, c.refusal.code) {
				t.Errorf("%v does not match its code", err)
			}
			if got := errors.Is(err, vmnet.ErrPermission); got != c.permission {
				t.Errorf("%v: permission %t", err, got)
			}
			if got := errors.Is(err, fs.ErrPermission); got != c.permission {
				t.Errorf("%v: fs.ErrPermission %t", err, got)
			}
			if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), c.refusal.call+": ") {
				t.Errorf("%v: want %q in it", err, c.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	hung := &HungError{Call: callCreate, After: time.Second}
	if !errors.Is(hung, os.ErrDeadlineExceeded) || !strings.Contains(hung.Error(), "vmnet_network_create: no answer within 1s") {
		t.Error(hung)
	}
	unsupported := missingLogical("joining")
	if !errors.Is(unsupported, errors.ErrUnsupported) || unsupported.Error() != "joining: needs macOS 26.0 or later: this system has no vmnet_network_create" {
		t.Error(unsupported)
	}
}

// TestGuard has calls hang, come back, and pile up.
func TestGuard(t *testing.T) {
	g := &guard{log: t.Logf}
	block, late := make(chan bool), make(chan int, 2*MaxHung)
	call := func(ctx context.Context, limit time.Duration) error {
		_, err := do(ctx, g, "call", limit, func() int { <-block; return 7 }, func(v int) { late <- v })
		return err
	}
	var hung *HungError
	if err := call(t.Context(), time.Millisecond); !errors.As(err, &hung) || hung.Call != "call" {
		t.Errorf("hung: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := call(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	for g.hung.Load() < MaxHung {
		if err := call(t.Context(), time.Microsecond); !errors.As(err, &hung) {
			t.Errorf("hung: %v", err)
		}
	}
	if err := call(t.Context(), time.Hour); !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "not tried") {
		t.Errorf("one too many: %v", err)
	}
	close(block)
	for range MaxHung {
		if v := <-late; v != 7 {
			t.Errorf("late %d", v)
		}
	}
	for g.hung.Load() != 0 {
		time.Sleep(time.Millisecond)
	}
	if n := g.total.Load(); n != MaxHung || g.late.Load() != MaxHung {
		t.Errorf("%d abandoned, %d late, want %d", n, g.late.Load(), MaxHung)
	}
	if v, err := do(t.Context(), g, "call", time.Hour, func() int { return 1 }, nil); v != 1 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
}
