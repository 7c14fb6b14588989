package cni_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/cni"
	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/internal/tempdir"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A driverCase is a driver that the plugin of this repository is judged over.
type driverCase struct {
	name, driver string
	frames       string                    // "" for dgram
	capabilities string                    // more of them, as JSON members
	env          func(*testing.T) []string // of the plugin, and so of the shim that it starts
}

// drivers are those that need no privilege. Driver vmnet is over libvmnet, as macOS
// 26 has it, with logical networks, and as releases before it. Its gateway is the
// system's and knows no names, so that there are no aliases.
func drivers() []driverCase {
	list := []driverCase{{name: "netstack", driver: "netstack", capabilities: `, "aliases": true`}}
	for name, release := range map[string]int{"vmnet-26": 260000, "vmnet-15": 150000} {
		list = append(list, driverCase{name: name, driver: "vmnet", env: func(t *testing.T) []string {
			lib := libvmnet.Build(t, libvmnet.Config{Release: release})
			return append(slices.Clip(lib.Env), libvmnet.PathEnv+"="+lib.Path)
		}})
	}
	return list
}

// config is what the plugin is judged with.
func (d driverCase) config() []byte {
	return fmt.Appendf(nil, `{
  "cniVersion": "1.1.0", "name": "judged", "type": "vmnet", "mode": "shared", "driver": %q, "frames": %q, "shim": {"timeout": "10s"},
  "capabilities": {"mac": true, "ips": true, "dns": true, "portMappings": true, "bandwidth": true, "ipRanges": true%s}
}`, d.driver, cmp.Or(d.frames, shim.FramesDgram), d.capabilities)
}

// TestVMNet judges the plugin of this repository by the letter, over every driver
// that needs no privilege, as a machine whose name only the runtime understands, as
// one whose runtime waits for the frame fd on a socket, and as a container in a
// network namespace. Nothing may fail, and nothing may be skipped.
func TestVMNet(t *testing.T) {
	bin := programs(t)
	for _, d := range drivers() {
		t.Run(d.name+"/opaque", func(t *testing.T) {
			d.need(t, "vmnet-15")
			t.Parallel()
			judge(t, vmnetTarget(t, bin, d))
		})
		t.Run(d.name+"/socket", func(t *testing.T) {
			d.need(t, "vmnet-26")
			t.Parallel()
			target := vmnetTarget(t, bin, d)
			s := &sockets{dir: t.TempDir()}
			t.Cleanup(s.close)
			target.Custom = s
			judge(t, target)
		})
		t.Run(d.name+"/netns", func(t *testing.T) {
			d.need(t)
			t.Parallel()
			require.Root(t)
			require.NetNS(t)
			target := vmnetTarget(t, bin, d)
			target.Domain = cni.DomainNetNS
			judge(t, target)
		})
	}
	t.Run("netstack/stream", func(t *testing.T) {
		needAll(t)
		t.Parallel()
		d := drivers()[0]
		d.frames = shim.FramesStream
		judge(t, vmnetTarget(t, bin, d))
	})
}

// allEnv asks for every driver in every domain, as make conformance does. Without
// it every driver and every domain is judged, but not each in each.
const allEnv = "VMNET_CONFORMANCE_ALL"

// need skips a driver that is neither netstack nor one of these, unless all are
// asked for.
func (d driverCase) need(t *testing.T, names ...string) {
	t.Helper()
	if d.driver != "netstack" && !slices.Contains(names, d.name) {
		needAll(t)
	}
}

// needAll skips unless everything is asked for.
func needAll(t *testing.T) {
	t.Helper()
	if os.Getenv(allEnv) == "" {
		t.Skip("only by make conformance, which sets " + allEnv)
	}
}

// programs builds the plugin and the shim.
func programs(t *testing.T) (bin string) {
	t.Helper()
	bin = t.TempDir()
	for out, pkg := range map[string]string{"vmnet": "../../plugins/vmnet", "vmnet-shim": "../../cmd/vmnet-shim"} {
		if err := build(filepath.Join(bin, out), pkg); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

// judge has every check pass.
func judge(t *testing.T, target cni.Target) {
	t.Helper()
	r, err := cni.Judge(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	n := tally{}
	for _, res := range r.Results {
		n[string(res.Status)]++
		if res.Status != cni.Pass {
			t.Errorf("%s: %s: %s\n%s", res.ID, res.Status, res.Reason, res.Seen)
		}
	}
	t.Logf("%s, grade %s: %s", t.Name(), cni.Spec, n)
}

// A tally counts checks by how they ended.
type tally map[string]int

// String tells the numbers.
func (n tally) String() string {
	pass, fail, skip := n[string(cni.Pass)], n[string(cni.Fail)], n[string(cni.Skip)]
	return fmt.Sprintf("%d checks: %d pass, %d fail, %d skip", pass+fail+skip, pass, fail, skip)
}

func vmnetTarget(t *testing.T, bin string, d driverCase) cni.Target {
	t.Helper()
	dir, err := tempdir.Make("v") // a short path, since sockets are below it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	env := []string{"VMNET_RUNTIME_DIR=" + filepath.Join(dir, "run"), "VMNET_STATE_DIR=" + filepath.Join(dir, "state")}
	if d.env != nil {
		env = append(env, d.env(t)...)
	}
	t.Cleanup(func() { stopShim(filepath.Join(dir, "run")) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return cni.Target{
		Plugin: filepath.Join(bin, "vmnet"), Config: d.config(), Env: env, Double: built.double,
		Dirs: []string{dir}, Ignore: []string{"*.log", "pid", "link *"},
		Inventory: self + " vmnet-list", Drift: self + " vmnet-drift",
		Bad:   []string{`{"mtu": "x"}`, `{"mtu": 1}`, `{"subnet": "10.0.0.0/33"}`, `{"mode": "bridge"}`, `{"driver": "x"}`, `{"frames": 1}`},
		Small: `{"subnet": "192.168.250.0/29"}`, Timeout: 30 * time.Second,
	}
}

// sockets are isolation domains whose runtime listens for the frame fd, and has a
// machine that keeps it.
type sockets struct {
	dir  string
	mu   sync.Mutex // guards open
	open map[string]*domain
	wg   sync.WaitGroup
}

// A domain is one of them.
type domain struct {
	listener *handover.Listener
	machine  *os.File // what came last, or nil; the accepting goroutine's until that ends
	done     chan struct{}
}

// Create listens.
func (s *sockets) Create(name string) (string, error) {
	path := filepath.Join(s.dir, name)
	l, err := handover.Listen(path)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]*domain{}
	}
	d := &domain{listener: l, done: make(chan struct{})}
	s.open[path] = d
	s.wg.Go(d.serve)
	return path, nil
}

// serve takes what is offered until the listener is closed.
func (d *domain) serve() {
	defer close(d.done)
	for {
		offer, err := d.listener.Accept(context.Background())
		if err != nil {
			return
		}
		if offer.Accept() != nil {
			continue
		}
		if d.machine != nil {
			_ = d.machine.Close()
		}
		d.machine = offer.File
	}
}

// Destroy stops listening, and the machine.
func (s *sockets) Destroy(ref string) error {
	s.mu.Lock()
	d := s.open[ref]
	delete(s.open, ref)
	s.mu.Unlock()
	if d == nil {
		return nil
	}
	err := d.listener.Close()
	<-d.done
	if d.machine != nil {
		_ = d.machine.Close()
	}
	return err
}

func (s *sockets) close() {
	s.mu.Lock()
	left := slices.Collect(maps.Keys(s.open))
	s.mu.Unlock()
	for _, ref := range left {
		_ = s.Destroy(ref)
	}
	s.wg.Wait()
}
