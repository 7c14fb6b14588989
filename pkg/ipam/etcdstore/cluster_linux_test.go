package etcdstore_test

import (
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

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/ipam/etcdstore"
)

// The environment of the tests that this test program runs in processes of its
// own: in which role.
const (
	roleEnv     = "VMNET_ETCD_TEST_ROLE"
	roleCluster = "cluster" // in the network namespace of the cluster's switch
)

// TestCluster runs TestInCluster in a network and a mount namespace of its own,
// so that all that it makes is gone with it.
func TestCluster(t *testing.T) {
	t.Parallel()
	require.Root(t)
	require.NetNS(t)
	require.Tool(t, "etcd")
	require.Tool(t, "ip")
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestInCluster$", "-test.v", "-test.timeout=15m")
	cmd.Env = append(os.Environ(), roleEnv+"="+roleCluster)
	// Unshareflags makes the mounts private, Pdeathsig needs this thread.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// A cluster is three members, each in a network namespace, on a bridge in the
// namespace of the test:
//
//	10.77.0.254 the test    10.77.0.1 to 3 the members    10.77.0.11 to 13 machines
type cluster struct {
	t         *testing.T
	members   [3]*proc
	endpoints []string
}

func run(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// host makes a namespace with an address on the bridge.
func host(t testing.TB, name, addr string) {
	t.Helper()
	run(t, "ip", "netns", "add", name)
	run(t, "ip", "link", "add", "v-"+name, "type", "veth", "peer", "name", "eth0", "netns", name)
	run(t, "ip", "link", "set", "v-"+name, "master", "br0", "up")
	run(t, "ip", "-n", name, "addr", "add", addr+"/24", "dev", "eth0")
	run(t, "ip", "-n", name, "link", "set", "eth0", "up")
	run(t, "ip", "-n", name, "link", "set", "lo", "up")
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	if err := unix.Mount("none", "/run", "tmpfs", 0, ""); err != nil { // where ip keeps its namespaces
		t.Fatal(err)
	}
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "ip", "link", "add", "br0", "type", "bridge")
	run(t, "ip", "addr", "add", "10.77.0.254/24", "dev", "br0")
	run(t, "ip", "link", "set", "br0", "up")
	c := &cluster{t: t}
	var peers []string
	for i := range c.members {
		peers = append(peers, fmt.Sprintf("m%d=http://10.77.0.%d:2380", i+1, i+1))
		c.endpoints = append(c.endpoints, fmt.Sprintf("http://10.77.0.%d:2379", i+1))
	}
	for i := range c.members {
		name, addr := fmt.Sprintf("m%d", i+1), fmt.Sprintf("10.77.0.%d", i+1)
		host(t, name, addr)
		dir := filepath.Join(fastDir(t), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		c.members[i] = startProc(t, dir, "ip", "netns", "exec", name, "etcd", "--name", name, "--data-dir", dir+"/data",
			"--listen-client-urls", c.endpoints[i], "--advertise-client-urls", c.endpoints[i],
			"--listen-peer-urls", strings.SplitN(peers[i], "=", 2)[1], "--initial-advertise-peer-urls", strings.SplitN(peers[i], "=", 2)[1],
			"--initial-cluster", strings.Join(peers, ","), "--log-level", "error")
	}
	for i := range 3 {
		host(t, fmt.Sprintf("s%d", i+1), fmt.Sprintf("10.77.0.%d", 11+i))
	}
	return c
}

// leader returns the index of the member that leads.
func (c *cluster) leader() int {
	c.t.Helper()
	client := raw(c.t, c.endpoints[0])
	found := -1
	waitFor(c.t, "a leader", 2*time.Minute, func() bool {
		for i, e := range c.endpoints {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			st, err := client.Status(ctx, e)
			cancel()
			if err == nil && st.Leader != 0 && st.Leader == st.Header.MemberId {
				found = i
			}
		}
		return found >= 0
	})
	return found
}

// link cuts a namespace off its switch, or joins it again. Nobody is told: what
// is sent is lost.
func (c *cluster) link(name, state string) {
	c.t.Helper()
	run(c.t, "ip", "link", "set", "v-"+name, state)
}

func TestInCluster(t *testing.T) {
	if os.Getenv(roleEnv) != roleCluster {
		t.Skip("TestCluster runs this test in a namespace of its own")
	}
	c := startCluster(t)
	s := open(t, etcdstore.Config{Endpoints: c.endpoints})
	begin := time.Now()
	ready(t, s)
	t.Logf("cluster: ready after %s", time.Since(begin).Round(time.Millisecond))
	for _, st := range []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"Race", testRace},
		{"FollowerKilled", func(t *testing.T, c *cluster) { testMemberKilled(t, c, 1) }},
		{"LeaderKilled", func(t *testing.T, c *cluster) { testMemberKilled(t, c, 0) }},
		{"LeaderCutOff", testLeaderCutOff},
		{"ClientCutOff", testClientCutOff},
		{"AllKilled", testAllKilled},
	} {
		t.Run(st.name, func(t *testing.T) {
			in := *c
			in.t = t
			st.run(t, &in)
		})
	}
}
