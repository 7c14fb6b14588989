package server_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/server"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func TestAttachDetach(t *testing.T) {
	r := start(t, config(newDirs(t)))
	before := r.census()
	a := r.attach("shared", "c1", shim.AttachRequest{Hostname: "box", Sandbox: "vm://1"})
	want := netip.MustParsePrefix("192.168.127.2/24")
	if len(a.IPs) != 2 || a.IPs[0].Address != want || a.IPs[0].Gateway.String() != "192.168.127.1" {
		t.Errorf("ips %v, want %v", a.IPs, want)
	}
	if a.Driver != "netstack" || a.Mode != vmnet.Shared || a.MTU != 1500 || a.MaxFrameSize != 1514 || a.Frames != "dgram" ||
		len(a.Routes) != 2 || a.DNS.Nameservers[0] != "192.168.127.1" || a.Owner != uint32(os.Geteuid()) || a.Sandbox != "vm://1" || a.Hostname != "box" {
		t.Errorf("attachment %+v", a)
	}
	for kind, path := range map[string]string{"unixgram": a.DgramSocketPath, "unix": a.StreamSocketPath} {
		fi, err := os.Stat(path)
		if err != nil || fi.Mode().Perm() != 0o600 || len(path) > shim.MaxSocketPath {
			t.Errorf("%s socket %s: %v, %v, want mode 0600", kind, path, fi, err)
		}
		c, err := net.Dial(kind, path)
		if err != nil {
			t.Errorf("connect: %v", err)
			continue
		}
		c.Close()
	}
	n, err := r.Network(t.Context(), "shared")
	if err != nil || n.Attachments != 1 || n.Leases != 1 || n.Free != 251 || n.Subnet != want.Masked() || n.Driver != "netstack" || n.GatewayMAC == "" {
		t.Errorf("network %+v, %v", n, err)
	}
	got, err := r.Attachment(t.Context(), "shared", "c1", "eth0")
	if err != nil || got.MAC != a.MAC {
		t.Errorf("get: %+v, %v", got, err)
	}
	for range 2 {
		if err := r.Detach(t.Context(), "shared", "c1", "eth0"); err != nil {
			t.Error(err)
		}
	}
	r.nothingLeft(before)
	if b := r.attach("shared", "c1", shim.AttachRequest{}); b.MAC != a.MAC || b.IPs[0] != a.IPs[0] {
		t.Errorf("again: %s %v, want the same MAC and address: %s %v", b.MAC, b.IPs, a.MAC, a.IPs)
	}
}

func TestPutTwice(t *testing.T) {
	r := start(t, config(newDirs(t)))
	const path = "/v1/networks/n/attachments/c/eth0"
	if a := r.do("PUT", path, `{"requestID":"1"}`); a.status != 201 {
		t.Fatalf("first: %d %s, want 201", a.status, a.body)
	}
	// The same in other words: defaults given, names repeated.
	if a := r.do("PUT", path, `{"requestID":"1","frames":"dgram","ips":[],"network":{"name":"n","mode":"shared","mtu":1500}}`); a.status != 200 {
		t.Errorf("same: %d %s, want 200", a.status, a.body)
	}
	if a := r.do("PUT", path, `{"requestID":"2"}`); a.status != 409 || !strings.Contains(a.body, `"key":"requestID"`) {
		t.Errorf("other request ID: %d %s, want 409", a.status, a.body)
	}
}

func TestSpecs(t *testing.T) {
	r := start(t, config(newDirs(t)))
	sub := netip.MustParsePrefix("10.7.0.0/16")
	host := r.attach("h", "c", shim.AttachRequest{Network: shim.NetworkSpec{Mode: vmnet.Host, Subnet: sub, MTU: 9000}, Frames: shim.FramesStream, IPs: []string{"10.7.3.3/16"}})
	if len(host.Routes) != 0 || host.MTU != 9000 || host.IPs[0].Address.String() != "10.7.3.3/16" || host.SocketPath != host.StreamSocketPath {
		t.Errorf("host network: %+v", host)
	}
	l2 := r.attach("l2", "c", shim.AttachRequest{Network: shim.NetworkSpec{IPAM: shim.IPAMNone}})
	if len(l2.IPs)+len(l2.Routes)+len(l2.DNS.Nameservers) != 0 {
		t.Errorf("layer 2: %+v", l2)
	}
	a, b := r.attach("a", "c", shim.AttachRequest{}), r.attach("b", "c", shim.AttachRequest{})
	if a.IPs[0].Address.Masked() == b.IPs[0].Address.Masked() {
		t.Errorf("two networks chose %v", a.IPs[0].Address.Masked())
	}
	// What was chosen may also be asked for.
	r.attach("a", "d", shim.AttachRequest{Network: shim.NetworkSpec{Subnet: a.IPs[0].Address.Masked()}})
	dns := shim.DNS{Nameservers: []string{"9.9.9.9"}, Search: []string{"vm.internal"}}
	if d := r.attach("dns", "c", shim.AttachRequest{Network: shim.NetworkSpec{DNS: dns}}); d.DNS.Nameservers[0] != "9.9.9.9" {
		t.Errorf("dns %+v", d.DNS)
	}
	own := shim.AttachRequest{Network: shim.NetworkSpec{DNS: dns}, DNS: shim.DNS{Domain: "own.internal", Nameservers: []string{"1.1.1.1"}}}
	if d := r.attach("dns", "d", own).DNS; d.Nameservers[0] != "1.1.1.1" || d.Domain != "own.internal" || d.Search[0] != "vm.internal" {
		t.Errorf("dns of a guest's own %+v", d)
	}
	nets, err := r.Networks(t.Context())
	if err != nil || len(nets) != 5 {
		t.Errorf("%d networks, %v, want 5", len(nets), err)
	}
}

func TestChosenSubnetIsKept(t *testing.T) {
	cfg := config(newDirs(t))
	cfg.InUse = func(context.Context) ([]netip.Prefix, error) {
		return []netip.Prefix{netip.MustParsePrefix("192.168.126.0/23")}, nil
	}
	r := start(t, cfg)
	first := r.attach("n", "c", shim.AttachRequest{}).IPs[0].Address
	if first.String() != "192.168.128.2/24" {
		t.Errorf("address %v, want one of the first free subnet", first)
	}
	if err := r.Detach(t.Context(), "n", "c", "eth0"); err != nil {
		t.Fatal(err)
	}
	r.stop()
	cfg.InUse = func(context.Context) ([]netip.Prefix, error) { return nil, errors.New("must not be asked") }
	r = start(t, cfg)
	if again := r.attach("n", "c2", shim.AttachRequest{}).IPs[0].Address; again.Masked() != first.Masked() {
		t.Errorf("address %v, want one of %v", again, first.Masked())
	}
}

func TestRestart(t *testing.T) {
	cfg := config(newDirs(t))
	r := start(t, cfg)
	var before []shim.Attachment
	for i := range 5 {
		before = append(before, r.attach("n", fmt.Sprintf("c%d", i), shim.AttachRequest{RequestID: "x"}))
	}
	if err := r.Detach(t.Context(), "n", "c0", "eth0"); err != nil {
		t.Fatal(err)
	}
	before = before[1:]
	r.stop()
	for _, a := range before {
		if _, err := os.Stat(a.SocketPath); err == nil {
			t.Errorf("socket %s is there although nobody listens", a.SocketPath)
		}
	}
	r = start(t, cfg)
	after, err := r.Attachments(t.Context())
	if err != nil || len(after) != len(before) {
		t.Fatalf("%d attachments, %v, want %d", len(after), err, len(before))
	}
	for i := range after {
		if a, b := after[i], before[i]; a.MAC != b.MAC || a.IPs[0] != b.IPs[0] || a.SocketPath != b.SocketPath || !a.Created.Equal(b.Created) || a.Problem != "" {
			t.Errorf("after\n%+v\nbefore\n%+v", a, b)
		}
		c, err := net.Dial("unix", after[i].StreamSocketPath)
		if err != nil {
			t.Error(err)
			continue
		}
		c.Close()
	}
	if s, _ := r.Status(t.Context()); len(s.Problems) != 0 {
		t.Errorf("problems %q", s.Problems)
	}
	// The same request finds what it made before the restart.
	if a := r.do("PUT", "/v1/networks/n/attachments/c1/eth0", `{"requestID":"x"}`); a.status != 200 {
		t.Errorf("same request: %d %s, want 200", a.status, a.body)
	}
}

// TestBrokenComesBack has nobody ask: what could not be brought back is tried again.
func TestBrokenComesBack(t *testing.T) {
	cfg := config(newDirs(t))
	r := start(t, cfg)
	a := r.attach("n", "c", shim.AttachRequest{})
	r.stop()
	var tries atomic.Int32
	f := &faulty{open: func(context.Context) error {
		if tries.Add(1) < 3 {
			return errors.New("the cable is cut")
		}
		return nil
	}}
	r = start(t, withFault(cfg.Dirs, f))
	eventually(t, func() bool {
		got, err := r.Attachment(t.Context(), "n", "c", "eth0")
		return err == nil && got.Problem == "" && got.MAC == a.MAC && got.IPs[0] == a.IPs[0]
	}, func() string { return "it stays broken" })
	if n := tries.Load(); n != 3 {
		t.Errorf("%d tries, want 3", n)
	}
}

func TestBrokenStaysListed(t *testing.T) {
	cfg := config(newDirs(t))
	r := start(t, cfg)
	a := r.attach("n", "c", shim.AttachRequest{})
	r.stop()
	var cut atomic.Bool
	cut.Store(true)
	f := &faulty{open: func(context.Context) error {
		if cut.Load() {
			return errors.New("the cable is cut")
		}
		return nil
	}}
	r = start(t, withFault(cfg.Dirs, f))
	got, err := r.Attachment(t.Context(), "n", "c", "eth0")
	if err != nil || !strings.Contains(got.Problem, "the cable is cut") || got.MAC != a.MAC || got.IPs[0] != a.IPs[0] {
		t.Fatalf("%+v, %v, want it listed with its problem", got, err)
	}
	if s, _ := r.Status(t.Context()); len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "n/c/eth0") {
		t.Errorf("problems %q, want one of n/c/eth0", s.Problems)
	}
	if _, _, err := r.Frames(t.Context(), "n", "c", "eth0"); shim.CodeOf(err) != shim.CodeUnavailable {
		t.Errorf("frames: %v, want unavailable", err)
	}
	if _, err := r.Attach(t.Context(), "n", "c", "eth0", shim.AttachRequest{}); err == nil {
		t.Error("attach worked")
	}
	cut.Store(false)
	if b := r.attach("n", "c", shim.AttachRequest{}); b.Problem != "" || b.MAC != a.MAC || b.IPs[0] != a.IPs[0] {
		t.Errorf("repaired: %+v", b)
	}
	if s, _ := r.Status(t.Context()); len(s.Problems) != 0 {
		t.Errorf("problems %q, want none any more", s.Problems)
	}
	if err := r.Detach(t.Context(), "n", "c", "eth0"); err != nil {
		t.Error(err)
	}
}

// TestRestartInAnyOrder has attachments of one network that asked for it in
// different words.
func TestRestartInAnyOrder(t *testing.T) {
	cfg := config(newDirs(t))
	r := start(t, cfg)
	first := r.attach("n", "c1", shim.AttachRequest{})
	sub := first.IPs[0].Address.Masked()
	for _, id := range []string{"a", "b", "d", "e"} {
		r.attach("n", id, shim.AttachRequest{Network: shim.NetworkSpec{Subnet: sub, Driver: "netstack"}})
	}
	for range 3 {
		r.stop()
		r = start(t, cfg)
		if s, err := r.Status(t.Context()); err != nil || s.Attachments != 5 || len(s.Problems) != 0 {
			t.Fatalf("status %+v, %v, want 5 attachments and no problems", s, err)
		}
	}
	r.attach("n", "f", shim.AttachRequest{}) // in the words of the first
}

// TestSubnetsOfUnusedNetworks uses more networks than there are subnets to
// choose, one after the other.
func TestSubnetsOfUnusedNetworks(t *testing.T) {
	cfg := config(newDirs(t))
	cfg.InUse = func(context.Context) ([]netip.Prefix, error) {
		return []netip.Prefix{netip.MustParsePrefix("192.168.128.0/18"), netip.MustParsePrefix("192.168.192.0/19")}, nil
	}
	r := start(t, cfg) // 192.168.127.0/24 is the only one left
	for _, n := range []string{"n1", "n2", "n3"} {
		if a := r.attach(n, "c", shim.AttachRequest{}); a.IPs[0].Address.String() != "192.168.127.2/24" {
			t.Errorf("%s: %v, want the first address of the only subnet", n, a.IPs)
		}
		if _, err := r.Attach(t.Context(), "other", "c", "eth0", shim.AttachRequest{}); shim.CodeOf(err) != shim.CodeExhausted {
			t.Errorf("beside it: %v, want exhausted", err)
		}
		if err := r.Detach(t.Context(), n, "c", "eth0"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFaultsLeaveNothing(t *testing.T) {
	tests := []struct {
		name  string
		fault faulty
		code  shim.Code
		text  string
	}{
		{"open", faulty{open: func(context.Context) error { return errors.New("no cable") }}, shim.CodeInternal, "no cable"},
		{"open denied", faulty{open: func(context.Context) error { return vmnet.ErrPermission }}, shim.CodeDenied, "missing privilege"},
		{"open unsupported", faulty{open: func(context.Context) error { return errors.ErrUnsupported }}, shim.CodeUnsupported, "unsupported"},
		{"open busy", faulty{open: func(context.Context) error { return vmnet.ServiceBusy }}, shim.CodeUnavailable, "in use"},
		{"start", faulty{start: func(context.Context) error { return errors.New("no socket") }}, shim.CodeInternal, "start interface: no socket"},
		{"start at the limit", faulty{start: func(context.Context) error { return vmnet.ErrLimit }}, shim.CodeExhausted, "limit reached"},
		{"start invalid", faulty{start: func(context.Context) error { return vmnet.InvalidArgument }}, shim.CodeInvalid, "invalid argument"},
		{"start hangs", faulty{start: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, shim.CodeUnavailable, "deadline"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := withFault(newDirs(t), &tt.fault)
			hangs := tt.text == "deadline"
			if hangs {
				cfg.Limits.Operation = 300 * time.Millisecond
			}
			r := start(t, cfg)
			before := r.census()
			_, err := r.Attach(t.Context(), "n", "c", "eth0", shim.AttachRequest{})
			if shim.CodeOf(err) != tt.code || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("error %v (%s), want %s with %q", err, shim.CodeOf(err), tt.code, tt.text)
			}
			r.nothingLeft(before)
			tt.fault.open, tt.fault.start = nil, nil
			if hangs { // a busy machine needs more than that for what does not hang
				cfg.Limits.Operation = 0
				r.stop()
				r = start(t, cfg)
			}
			r.attach("n", "c9", shim.AttachRequest{})
			if n, err := r.Network(t.Context(), "n"); err != nil || n.Leases != 1 {
				t.Errorf("then %d leases, %v, want only that of the new attachment", n.Leases, err)
			}
		})
	}
}

// TestClientGone has a client that gives up while its attachment is made.
func TestClientGone(t *testing.T) {
	started := make(chan struct{})
	f := &faulty{start: func(ctx context.Context) error { close(started); <-ctx.Done(); return ctx.Err() }}
	r := start(t, withFault(newDirs(t), f))
	before := r.census()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if _, err := r.Attach(ctx, "n", "c", "eth0", shim.AttachRequest{}); err == nil {
		t.Error("attach worked")
	}
	r.nothingLeft(before)
}

func TestSlowAttachDelaysNobody(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	waiting := make(chan struct{})
	f := &faulty{}
	f.start = func(context.Context) error {
		slow := false
		once.Do(func() { slow = true })
		if slow {
			close(waiting)
			<-release
		}
		return nil
	}
	r := start(t, withFault(newDirs(t), f))
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := r.Attach(t.Context(), "n", "slow", "eth0", shim.AttachRequest{}); err != nil {
			t.Errorf("slow: %v", err)
		}
	})
	<-waiting
	r.attach("n", "c1", shim.AttachRequest{}) // in the same network
	r.attach("m", "c1", shim.AttachRequest{})
	if err := r.Detach(t.Context(), "n", "c1", "eth0"); err != nil {
		t.Error(err)
	}
	if s, err := r.Status(t.Context()); err != nil || s.Attachments != 1 {
		t.Errorf("status %+v, %v, want 1 attachment", s, err)
	}
	close(release)
	wg.Wait()
}

func TestManyAtOnce(t *testing.T) {
	r := start(t, config(newDirs(t)))
	before := r.census()
	const n = 24
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]string{}
	for i := range n {
		wg.Go(func() {
			id := fmt.Sprintf("c%d", i)
			a, err := r.Attach(t.Context(), fmt.Sprintf("n%d", i%3), id, "eth0", shim.AttachRequest{})
			if err != nil {
				t.Errorf("%s: %v", id, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, what := range []string{a.MAC, a.IPs[0].Address.String(), a.SocketPath} {
				if by, ok := seen[what]; ok {
					t.Errorf("%s and %s both have %s", by, id, what)
				}
				seen[what] = id
			}
		})
	}
	wg.Wait()
	for i := range n {
		wg.Go(func() {
			if err := r.Detach(t.Context(), fmt.Sprintf("n%d", i%3), fmt.Sprintf("c%d", i), "eth0"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r.nothingLeft(before)
}

func TestGC(t *testing.T) {
	r := start(t, config(newDirs(t)))
	for _, id := range []string{"c1", "c2", "c3"} {
		r.attach("n", id, shim.AttachRequest{})
	}
	r.attach("other", "c1", shim.AttachRequest{})
	deleted, err := r.GC(t.Context(), "n", []shim.AttachmentID{{ContainerID: "c2", IfName: "eth0"}, {ContainerID: "never", IfName: "eth0"}})
	if err != nil || len(deleted) != 2 || deleted[0].ContainerID != "c1" || deleted[1].ContainerID != "c3" {
		t.Errorf("deleted %v, %v, want c1 and c3", deleted, err)
	}
	if deleted, err := r.GC(t.Context(), "unknown", nil); err != nil || len(deleted) != 0 {
		t.Errorf("unknown network: %v, %v, want nothing", deleted, err)
	}
	if deleted, err := r.GC(t.Context(), "n", nil); err != nil || len(deleted) != 1 {
		t.Errorf("empty list: %v, %v, want c2", deleted, err)
	}
	atts, err := r.Attachments(t.Context())
	if err != nil || len(atts) != 1 || atts[0].Network != "other" {
		t.Errorf("left %v, %v, want that of the other network", atts, err)
	}
}

func TestLimits(t *testing.T) {
	cfg := config(newDirs(t))
	cfg.Limits = server.Limits{Attachments: 2, Networks: 1}
	r := start(t, cfg)
	r.attach("n", "c1", shim.AttachRequest{})
	_, err := r.Attach(t.Context(), "m", "c2", "eth0", shim.AttachRequest{})
	if shim.CodeOf(err) != shim.CodeExhausted || !strings.Contains(err.Error(), "1 networks, its limit") {
		t.Errorf("second network: %v, want exhausted", err)
	}
	r.attach("n", "c2", shim.AttachRequest{})
	_, err = r.Attach(t.Context(), "n", "c3", "eth0", shim.AttachRequest{})
	if shim.CodeOf(err) != shim.CodeExhausted || !strings.Contains(err.Error(), "2 attachments, its limit") {
		t.Errorf("third attachment: %v, want exhausted", err)
	}
	if err := r.Detach(t.Context(), "n", "c1", "eth0"); err != nil {
		t.Fatal(err)
	}
	r.attach("n", "c3", shim.AttachRequest{})
}

func TestSubnetExhausted(t *testing.T) {
	r := start(t, config(newDirs(t)))
	spec := shim.NetworkSpec{Subnet: netip.MustParsePrefix("10.1.1.0/29")}
	var err error
	for i := range 8 {
		if _, err = r.Attach(t.Context(), "n", fmt.Sprintf("c%d", i), "eth0", shim.AttachRequest{Network: spec}); err != nil {
			break
		}
	}
	if shim.CodeOf(err) != shim.CodeExhausted {
		t.Errorf("error %v, want exhausted", err)
	}
}

func TestConnectionLimit(t *testing.T) {
	cfg := config(newDirs(t))
	cfg.Limits.Connections = 2
	r := start(t, cfg)
	r.Close()
	var idle []net.Conn
	for range 2 {
		c, err := net.Dial("unix", cfg.Dirs.ShimSocket())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
	}
	got := make(chan error, 1)
	go func() { _, err := r.Status(t.Context()); got <- err }()
	select {
	case err := <-got:
		t.Fatalf("third connection was served (%v), want it to wait", err)
	case <-time.After(100 * time.Millisecond):
	}
	idle[0].Close()
	if err := <-got; err != nil {
		t.Error(err)
	}
}
