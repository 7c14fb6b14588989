package cni_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
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
  "cniVersion": "1.1.0", "name": "judged", "type": "vmnet", "mode": "shared", "driver": %q, "shim": {"timeout": "5s"},
  "capabilities": {"mac": true, "ips": true, "dns": true, "portMappings": true, "bandwidth": true, "ipRanges": true%s}
}`, d.driver, d.capabilities)
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
}

// allEnv asks for every driver in every domain, as make conformance does. Without
// it every driver and every domain is judged, but not each in each.
const allEnv = "VMNET_CONFORMANCE_ALL"

// need skips a driver that is neither netstack nor one of these, unless all are
// asked for.
func (d driverCase) need(t *testing.T, names ...string) {
	t.Helper()
	if os.Getenv(allEnv) == "" && d.driver != "netstack" && !slices.Contains(names, d.name) {
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
	for _, res := range r.Results {
		if res.Status != cni.Pass {
			t.Errorf("%s: %s: %s\n%s", res.ID, res.Status, res.Reason, res.Seen)
		}
	}
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

// vmnetHook is the program behind Inventory and Drift. Its environment says which
// shim is meant.
func vmnetHook(role string) int {
	run := os.Getenv("VMNET_RUNTIME_DIR")
	c := shim.NewClient(filepath.Join(run, "shim.sock"))
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if role == "vmnet-list" {
		all, err := c.Attachments(ctx)
		if err != nil {
			return 0 // no shim holds nothing
		}
		for _, a := range all {
			fmt.Println(a.Network, a.ContainerID, a.IfName)
		}
		return 0
	}
	if err := vmnetDrift(ctx, c, filepath.Join(run, "pid")); err != nil {
		if errors.Is(err, errors.ErrUnsupported) {
			return 77
		}
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func vmnetDrift(ctx context.Context, c *shim.Client, pidFile string) error {
	switch what := os.Getenv("CNI_DRIFT"); what {
	case "daemon-stop", "daemon-hang":
		st, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if what == "daemon-stop" {
			return endShim(ctx, st)
		}
		if err := os.WriteFile(pidFile, []byte(strconv.Itoa(st.PID)), 0o600); err != nil {
			return err
		}
		return signalled(ctx, st.PID, syscall.SIGSTOP, "T")
	case "daemon-start": // the plugin does that
		return nil
	case "daemon-resume":
		raw, err := os.ReadFile(pidFile)
		if err != nil {
			return err
		}
		pid, err := strconv.Atoi(string(raw))
		if err != nil {
			return err
		}
		return syscall.Kill(pid, syscall.SIGCONT)
	case "socket":
		a, err := c.Attachment(ctx, os.Getenv("CNI_NETWORK"), os.Getenv("CNI_CONTAINERID"), os.Getenv("CNI_IFNAME"))
		if err != nil {
			return err
		}
		return os.Remove(a.SocketPath)
	case "interface", "reservation":
		return c.Detach(ctx, os.Getenv("CNI_NETWORK"), os.Getenv("CNI_CONTAINERID"), os.Getenv("CNI_IFNAME"))
	}
	return errors.ErrUnsupported
}

// signalled sends a signal and waits until the process is in that state of
// proc(5), or gone: until then it may still answer.
func signalled(ctx context.Context, pid int, sig syscall.Signal, state string) error {
	if err := syscall.Kill(pid, sig); err != nil {
		return err
	}
	for ctx.Err() == nil {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") "+state+" ") {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return ctx.Err()
}

// endShim kills shim and keeper. The shim is stopped first, or it would start
// another keeper.
func endShim(ctx context.Context, st shim.Status) error {
	if err := signalled(ctx, st.PID, syscall.SIGSTOP, "T"); err != nil {
		return err
	}
	if err := signalled(ctx, st.Keeper, syscall.SIGKILL, "Z"); err != nil {
		return err
	}
	return signalled(ctx, st.PID, syscall.SIGKILL, "Z")
}

// stopShim ends the shim that the plugin started, if it still runs.
func stopShim(run string) {
	c := shim.NewClient(filepath.Join(run, "shim.sock"))
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if st, err := c.Status(ctx); err == nil {
		_ = endShim(ctx, st)
	}
}
