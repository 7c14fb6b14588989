//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/reference"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink"
)

// script runs a shell script in namespaces of its own and returns its output.
func (h *host) script(attr *syscall.SysProcAttr, path string, args ...string) string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", append([]string{path}, args...)...)
	cmd.SysProcAttr = attr
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		log, _ := os.ReadFile(filepath.Join(h.dir, "state", "shim.log"))
		h.t.Fatalf("%s: %v\n%s%s\n%s", path, err, &stdout, &stderr, log)
	}
	return stdout.String()
}

// A container in a real namespace behind cnitool, with tuning and portmap chained
// after us: ADD, CHECK, and a port of the host that leads to it; DEL, also again and
// when the namespace is gone, leaves nothing.
func TestE2EContainerChain(t *testing.T) {
	require.Root(t)
	require.NetNS(t)
	for _, tool := range []string{"ip", "nft", "busybox"} {
		require.Tool(t, tool)
	}
	programs := reference.Install(t, reference.CNITool, reference.Plugins+"meta/tuning"+reference.Version, reference.Plugins+"meta/portmap"+reference.Version)
	for _, driver := range []string{"netstack", "tap"} {
		t.Run(driver, func(t *testing.T) {
			h := newHost(t)
			t.Setenv("CNI_PATH", h.bin+":"+programs)
			t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
			out := h.script(&syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}, "testdata/chain.sh", driver, t.TempDir())
			if out != "hello\n" {
				t.Errorf("the container's page is %q", out)
			}
			h.clean()
		})
	}
}

// A container of an unprivileged user, in a user namespace.
func TestE2EContainerRootless(t *testing.T) {
	require.UserNS(t)
	for _, tool := range []string{"ip", "unshare", "nsenter", "busybox"} {
		require.Tool(t, tool)
	}
	h := newHost(t)
	out := h.script(&syscall.SysProcAttr{
		Unshareflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings:  []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings:  []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}, "testdata/rootless.sh", filepath.Join(h.bin, "vmnet"))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if !strings.Contains(out, "inet 192.168.127.2/24") || !strings.Contains(out, " 0% packet loss") || !strings.Contains(lines[len(lines)-1], "lo:") {
		t.Errorf("the script says:\n%s", out)
	}
	h.clean()
}

// newBox makes a network namespace and returns its path, and do, which runs a
// function on a thread in it.
func newBox(t *testing.T) (path string, do func(func() error)) {
	t.Helper()
	require.NetNS(t)
	made := make(chan *os.File)
	go func() {
		defer close(made)
		runtime.LockOSThread() // the thread ends with the goroutine
		if unix.Unshare(unix.CLONE_NEWNET) == nil {
			if f, err := os.Open("/proc/thread-self/ns/net"); err == nil {
				made <- f
			}
		}
	}()
	ns := <-made
	if ns == nil {
		t.Fatal("no network namespace")
	}
	t.Cleanup(func() { ns.Close() })
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd()), func(fn func() error) {
		t.Helper()
		if err := within(ns, fn); err != nil {
			t.Fatal(err)
		}
	}
}

// CHECK finds what drifted inside of the container, and DEL works whatever became
// of it.
func TestE2EContainerDrift(t *testing.T) {
	h := newHost(t)
	for what, drift := range map[string]func(netlink.Link) error{
		"is down":              netlink.LinkSetDown,
		"is not in CNI_NETNS":  netlink.LinkDel,
		"no frame moves":       replace,
		"address 192.168.127.": func(l netlink.Link) error { return netlink.AddrDel(l, mustAddr(t, l)) },
		"route 0.0.0.0/0":      func(l netlink.Link) error { return netlink.RouteDel(mustRoute(t, l)) },
		"mtu: result has 1500": func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1300) },
		"mac: result has":      func(l netlink.Link) error { return netlink.LinkSetHardwareAddr(l, []byte{2, 0, 0, 0, 0, 7}) },
	} {
		path, do := newBox(t)
		env := map[string]string{"CNI_NETNS": path}
		out := h.must("ADD", "box", env, e2eConf)
		h.must("CHECK", "box", env, withPrev(t, out))
		do(func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return drift(l)
		})
		waitFor(t, "CHECK that says "+what, func() bool {
			got := h.exec("CHECK", "box", env, withPrev(t, out))
			return got.code != 0 && strings.Contains(got.stdout, what)
		})
		h.must("DEL", "box", env, e2eConf)
	}
	h.clean()
}

// replace puts another interface in the place of ours.
func replace(l netlink.Link) error {
	if err := netlink.LinkDel(l); err != nil {
		return err
	}
	return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0", TxQLen: -1}})
}

func mustAddr(t *testing.T, l netlink.Link) *netlink.Addr {
	t.Helper()
	all, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil || len(all) != 1 {
		t.Fatalf("addresses %v, %v", all, err)
	}
	return &all[0]
}

func mustRoute(t *testing.T, l netlink.Link) *netlink.Route {
	t.Helper()
	all, err := netlink.RouteList(l, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Gw != nil {
			return &r
		}
	}
	t.Fatalf("no default route in %v", all)
	return nil
}

// What is in the way, or is no network namespace, is refused and nothing is left;
// DEL never looks. Two networks of one container have a default route each.
func TestE2EContainerPlaces(t *testing.T) {
	h := newHost(t)
	path, do := newBox(t)
	do(func() error {
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0", TxQLen: -1}})
	})
	// The first one starts the shim, the second is refused before that.
	for _, c := range [][2]string{{path, `"code":100`}, {"/proc/self/ns/uts", `"code":4`}} {
		netns, code := c[0], c[1]
		env := map[string]string{"CNI_NETNS": netns}
		if got := h.exec("ADD", "box", env, e2eConf); got.code == 0 || !strings.Contains(got.stdout, code) {
			t.Errorf("ADD in %s: %+v", netns, got)
		}
		if ids := h.attached(); len(ids) != 0 {
			t.Errorf("after an ADD that failed: %v", ids)
		}
		h.must("DEL", "box", env, e2eConf)
	}
	for i, name := range []string{"net1", "net2"} {
		conf := strings.Replace(e2eConf, `"name"`, fmt.Sprintf(`"subnet": "10.66.%d.0/24", "name"`, i), 1)
		conf = strings.Replace(conf, `"shared"`, `"`+name+`"`, 1)
		h.must("ADD", "box", map[string]string{"CNI_NETNS": path, "CNI_IFNAME": name}, conf)
	}
	do(func() error {
		for _, name := range []string{"net1", "net2"} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			mustRoute(t, l)
		}
		return nil
	})
	for _, name := range []string{"net1", "net2"} {
		h.must("DEL", "box", map[string]string{"CNI_NETNS": "", "CNI_IFNAME": name}, strings.Replace(e2eConf, `"shared"`, `"`+name+`"`, 1))
	}
	do(func() error {
		links, err := netlink.LinkList()
		if len(links) != 2 { // lo and the bridge
			t.Errorf("links left: %v", links)
		}
		return err
	})
	h.clean()
}
