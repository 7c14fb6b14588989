package framework_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

// Releases of macOS that conformance/libvmnet can imitate.
const (
	macOS26    = 260000
	macOS15    = 150000
	macOS11    = 110000
	macOS10_15 = 101500
	macOS10_10 = 101000
)

// A library is a stand-in for the framework, and its test controls, if it has
// any: another library with the ABI may be named by VMNET_FRAMEWORK_LIBRARY.
type library struct {
	path               string
	set, get, resetAll uintptr
}

var libraries struct {
	sync.Mutex
	open map[int]*library
}

// load returns the library that imitates a release. VMNET_FRAMEWORK_LIBRARY takes
// the place of the newest. Its controls have their defaults, and get them back.
func load(t testing.TB, release int) *library {
	t.Helper()
	libraries.Lock()
	defer libraries.Unlock()
	l := libraries.open[release]
	if l == nil {
		path := os.Getenv(framework.LibraryEnv)
		if path == "" || release != macOS26 {
			path = libvmnet.Build(t, libvmnet.Config{Release: release}).Path
		}
		l = open(t, path)
		if libraries.open == nil {
			libraries.open = make(map[int]*library)
		}
		libraries.open[release] = l
	}
	l.reset()
	t.Cleanup(l.reset)
	return l
}

func open(t testing.TB, path string) *library {
	t.Helper()
	h, err := purego.Dlopen(path, purego.RTLD_LAZY|purego.RTLD_LOCAL)
	if err != nil {
		t.Fatal(err)
	}
	l := &library{path: path}
	for name, addr := range map[string]*uintptr{"set": &l.set, "get": &l.get, "reset": &l.resetAll} {
		*addr, _ = purego.Dlsym(h, "libvmnet_test_"+name) // optional
	}
	return l
}

func (l *library) reset() {
	if l.resetAll != 0 {
		purego.SyscallN(l.resetAll)
	}
}

// control sets a control of the library until the test ends.
func (l *library) control(t testing.TB, name string, value int64) {
	t.Helper()
	if l.set == 0 {
		t.Skipf("%s has no test controls", l.path)
	}
	c := append([]byte(name), 0)
	if r, _, _ := purego.SyscallN(l.set, uintptr(unsafe.Pointer(&c[0])), uintptr(value)); int32(r) != 0 {
		t.Fatalf("control %s: there is none", name)
	}
}

// count reads a counter of the library; 0 when it has none.
func (l *library) count(t testing.TB, name string) int64 {
	t.Helper()
	if l.get == 0 {
		return 0
	}
	c := append([]byte(name), 0)
	r, _, _ := purego.SyscallN(l.get, uintptr(unsafe.Pointer(&c[0])))
	if int64(r) == -1<<63 {
		t.Fatalf("counter %s: there is none", name)
	}
	return int64(r)
}

// driver returns a driver that uses l, and checks at the end of the test that C
// and Go have given everything back.
func (l *library) driver(t testing.TB, cfg framework.Config) vmnet.Driver {
	t.Helper()
	cfg.Library, cfg.Log = l.path, t.Logf
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = patience
	}
	if cfg.StopTimeout == 0 {
		cfg.StopTimeout = patience
	}
	d, err := framework.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	before := l.live(t, d)
	t.Cleanup(func() {
		l.reset()
		eventually(t, func() error {
			after := l.live(t, d)
			for what, n := range after {
				if n > before[what] { // less is what an earlier test left to C
					return fmt.Errorf("%d %s left behind: %v, before %v", n-before[what], what, after, before)
				}
			}
			return nil
		})
	})
	return d
}

// live is what C and Go hold.
func (l *library) live(t testing.TB, d vmnet.Driver) map[string]int64 {
	s := d.(framework.Inspector).Stats()
	m := map[string]int64{
		"networks": int64(s.Networks), "interfaces": int64(s.Interfaces), "hung calls": s.Hung,
		"handles": int64(s.Handles), "blocks": s.Blocks,
	}
	for _, name := range []string{"interfaces", "blocks", "xpc", "queues", "cf", "networks"} {
		m["C "+name] = l.count(t, "live."+name)
	}
	return m
}

// patience is how long a test waits for what must come. It says nothing about how
// soon that is.
const patience = 30 * time.Second

// eventually waits for check to succeed: C frees things after the handler
// returned, on its own threads.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Error(err)
}

// impatient calls run with a short time limit, and with longer ones as long as it
// reports false: a busy machine may use up a limit where nothing hangs.
func impatient(run func(limit time.Duration) bool) {
	for limit := 300 * time.Millisecond; !run(limit) && limit < patience; limit *= 10 {
	}
}

// settled waits until nothing is under way that a call left behind.
func settled(t testing.TB, d vmnet.Driver) {
	t.Helper()
	eventually(t, func() error {
		if s := d.(framework.Inspector).Stats(); s.Hung != 0 || s.Interfaces != 0 || s.Networks != 0 {
			return fmt.Errorf("not settled: %+v", s)
		}
		return nil
	})
}

// shared is the network of most tests.
func shared(name string) vmnet.NetworkConfig {
	return vmnet.NetworkConfig{Name: name, Subnet: netip.MustParsePrefix("192.168.227.0/24")}
}

// start opens a network and starts one device on it; both are closed at the end.
func start(t testing.TB, d vmnet.Driver, cfg vmnet.NetworkConfig) vmnet.Device {
	t.Helper()
	n := openNetwork(t, d, cfg)
	dev, err := n.Start(context.Background(), vmnet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func openNetwork(t testing.TB, d vmnet.Driver, cfg vmnet.NetworkConfig) vmnet.Network {
	t.Helper()
	n, err := d.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close network: %v", err)
		}
	})
	return n
}
