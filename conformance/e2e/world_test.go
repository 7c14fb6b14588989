package e2e_test

import (
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/internal/tempdir"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A world is a driver and what is around a machine that uses it: something
// outside, that guests reach through NAT.
type world struct {
	name string
	keys map[string]any           // of the configuration
	env  []string                 // of plugin and shim
	do   func(func() error) error // where both run; nil: here
	// listen opens a socket outside; guests of a subnet reach it at the address
	// that at returns.
	listen func(t testing.TB) net.Listener
	at     func(subnet netip.Prefix, l net.Listener) netip.AddrPort
	// floods says that a guest's broadcasts also go to attachments that have no
	// guest yet, where they are dropped.
	floods bool
}

// inWorlds runs a test with driver netstack, with driver tap, and with driver vmnet
// in the two ways in which it uses the framework.
func inWorlds(t *testing.T, test func(*testing.T, *world)) {
	t.Run("netstack", func(t *testing.T) { test(t, netstack()) })
	t.Run("tap", func(t *testing.T) { test(t, kernel(t)) })
	for _, release := range []int{260000, 150000} {
		t.Run(releaseName(release), func(t *testing.T) { test(t, framework(t, release)) })
	}
}

func releaseName(release int) string {
	if release >= 260000 {
		return "vmnet-26"
	}
	return "vmnet-15"
}

// netstack is the world of driver netstack, whose outside is the host's loopback.
func netstack() *world {
	return &world{
		name: "netstack",
		keys: map[string]any{"hostLoopback": true},
		listen: func(t testing.TB) net.Listener {
			t.Helper()
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			return l
		},
		at: func(subnet netip.Prefix, l net.Listener) netip.AddrPort {
			return netip.AddrPortFrom(vmnet.LastAddr(subnet), portOf(l))
		},
	}
}

func portOf(l net.Listener) uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }

// newMachine returns a machine in the world of driver netstack.
func newMachine(t testing.TB, keys map[string]any) *e2e.Machine {
	t.Helper()
	return netstack().machine(t, keys)
}

// machine returns a machine whose network has the keys, and checks at the end of
// the test that nothing is left on it.
func (w *world) machine(t testing.TB, keys map[string]any) *e2e.Machine {
	t.Helper()
	dir, err := tempdir.Make("vmnet-e2e-")
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := w.machineIn(t, dir, keys)
	t.Cleanup(func() {
		empty(t, m)
		if _, err := m.Stop(soon(t)); err != nil {
			t.Error(err)
		}
		if left := m.Processes(); len(left) > 0 {
			t.Errorf("processes are left: %v", left)
		}
		if log, ok := m.Log(); ok && (t.Failed() || strings.Contains(log, "DATA RACE")) {
			t.Errorf("the shim's log:\n%s", log)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return m
}

// machineIn returns a machine in a directory, which may be another's: then it is the
// same machine by another configuration.
func (w *world) machineIn(t testing.TB, dir string, keys map[string]any) *e2e.Machine {
	t.Helper()
	plugin := map[string]any{"type": "vmnet"}
	maps.Copy(plugin, w.keys)
	maps.Copy(plugin, keys)
	conf, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": "e2e", "plugins": []any{plugin}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := e2e.New(e2e.Config{Bin: bin, Dir: dir, ConfList: conf, Env: w.env, Do: w.do})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// page serves a page outside, for guests of that subnet, and returns where they
// find it.
func (w *world) page(t testing.TB, subnet netip.Prefix) netip.AddrPort {
	t.Helper()
	l := w.listen(t)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("page of the host\n", 1000)) // several frames
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return w.at(subnet, l)
}

// accept takes one connection outside.
func (w *world) accept(t testing.TB, subnet netip.Prefix) (at netip.AddrPort, conn <-chan net.Conn) {
	t.Helper()
	l := w.listen(t)
	t.Cleanup(func() { l.Close() })
	c := make(chan net.Conn, 1)
	go func() {
		defer close(c)
		if conn, err := l.Accept(); err == nil {
			c <- conn
		}
	}()
	return w.at(subnet, l), c
}

// macSubnet is the subnet of driver vmnet's worlds.
const macSubnet = "192.168.222.0/24"
