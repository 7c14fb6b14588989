package tap_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/internal/ownns"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/internal/tempdir"
)

// bin has the plugin and the shim.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ownns.Enter()
	dir, remove, err := e2e.Build(false)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer remove()
	bin = dir
	return m.Run()
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// machine returns a machine whose network is on driver tap. Its shim is stopped at
// the end.
func machine(t testing.TB, keys map[string]any) *e2e.Machine {
	t.Helper()
	ownns.Needs(t)
	plugin := map[string]any{"type": "vmnet", "driver": "tap", "shim": map[string]any{"timeout": "60s"}}
	for k, v := range keys {
		plugin[k] = v
	}
	list, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": "n", "plugins": []any{plugin}})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := tempdir.Make("vt")
	if err != nil {
		t.Fatal(err)
	}
	m, err := e2e.New(e2e.Config{Bin: bin, Dir: dir, ConfList: list})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := m.Stop(soon(t)); err != nil {
			t.Error(err)
		}
		if log, ok := m.Log(); ok && t.Failed() {
			t.Logf("the shim's log:\n%s", log)
		}
		os.RemoveAll(dir)
	})
	return m
}

// traces is what the system shows of networks.
func traces(t testing.TB) string {
	t.Helper()
	var all strings.Builder
	for _, args := range [][]string{{"ip", "-j", "link"}, {"ip", "-j", "addr"}, {"nft", "list", "ruleset"}, {"tc", "qdisc"}} {
		out, err := exec.Command(require.Tool(t, args[0]), args[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		fmt.Fprintf(&all, "%v:\n%s\n", args, out)
	}
	return strings.ReplaceAll(all.String(), `"tentative":true,`, "") // passes by itself
}

// same fails unless traces are as they were; what goes away late is waited for.
func same(t testing.TB, before string) {
	t.Helper()
	var now string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if now = traces(t); now == before {
			return
		}
	}
	t.Errorf("left behind:\n%s\nbefore:\n%s", now, before)
}

// A space is a network namespace, for the length of a test.
type space struct {
	t  testing.TB
	ns netns.NsHandle
}

func newSpace(t testing.TB) space {
	t.Helper()
	made := make(chan netns.NsHandle)
	go func() { // the thread ends with the goroutine
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			close(made)
			return
		}
		h, _ := netns.Get()
		made <- h
	}()
	h, ok := <-made
	if !ok {
		t.Fatal("no new namespace")
	}
	t.Cleanup(func() { h.Close() })
	return space{t, h}
}

// path names the namespace for other processes.
func (s space) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(s.ns)) }

// do runs fn on a thread in the namespace, which ends with it.
func (s space) do(fn func() error) {
	s.t.Helper()
	if err := s.try(fn); err != nil {
		s.t.Fatal(err)
	}
}

func (s space) try(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(s.ns); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

// outside makes a namespace behind a veth, name, whose end here has the address
// here and whose other end, "lan0", has there. It returns what runs a function
// there.
func outside(t testing.TB, name, here, there string) (do func(func() error)) {
	t.Helper()
	s := newSpace(t)
	h := s.ns
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "lan0", PeerNamespace: netlink.NsFd(h)}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	do = s.do
	up := func(dev, addr string) error {
		l, err := netlink.LinkByName(dev)
		if err != nil {
			return err
		}
		if addr != "" {
			a, err := netlink.ParseAddr(addr)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(l, a); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(l)
	}
	if err := up(name, here); err != nil {
		t.Fatal(err)
	}
	do(func() error { return up("lan0", there) })
	// The kernel says a little later that there is a carrier.
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if l, err := netlink.LinkByName(name); err != nil || l.Attrs().OperState == netlink.OperUp {
			return do
		}
	}
	t.Fatalf("link %s: no carrier", name)
	return nil
}

// serve serves a page on the listener that listen makes, in its namespace. The page
// tells the caller's address.
func serve(t testing.TB, do func(func() error), addr string) {
	t.Helper()
	do(func() error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "hello %s\n", r.RemoteAddr)
		})}
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Serve(l) }()
		t.Cleanup(func() { s.Close(); <-done })
		return nil
	})
}
