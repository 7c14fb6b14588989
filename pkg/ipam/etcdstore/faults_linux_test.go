package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/etcdstore"
	"github.com/vmnet-cni/vmnet/pkg/ipam/ipamtest"
)

const roleMachine = "machine" // a machine that allocates; see TestRaceMachine

// The race: each machine makes so many allocations, so many at a time.
const (
	raceEach = 1000
	raceWide = 100
)

// testRace has three machines, each a process in a namespace, make 3,000
// allocations at once: no address is given twice.
func testRace(t *testing.T, c *cluster) {
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range 3 {
		ns := fmt.Sprintf("s%d", i+1)
		wg.Go(func() {
			cmd := exec.Command("ip", "netns", "exec", ns, "/proc/self/exe", "-test.run=^TestRaceMachine$", "-test.v")
			cmd.Args[4] = executable(t)
			cmd.Env = append(os.Environ(), roleEnv+"="+roleMachine, "MACHINE="+ns, "ENDPOINTS="+strings.Join(c.endpoints, ","))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("machine %s: %v: %s", ns, err, out)
			}
			for line := range strings.SplitSeq(string(out), "\n") {
				if strings.Contains(line, "allocations") {
					t.Log(strings.TrimSpace(line))
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	s := open(t, etcdstore.Config{Endpoints: c.endpoints})
	leases, err := ipam.New(s, ipam.Config{}).List(context.Background(), "small")
	if err != nil {
		t.Fatal(err)
	}
	seen, machines := map[netip.Prefix]bool{}, map[string]int{}
	for _, l := range leases {
		seen[l.Addr()] = true
		machines[l.Machine]++
	}
	if len(leases) != 3*raceEach || len(seen) != len(leases) || len(machines) != 3 {
		t.Errorf("%d leases with %d addresses on %v, want %d", len(leases), len(seen), machines, 3*raceEach)
	}
	ipamtest.CheckStore(t, s)
	t.Logf("%d leases in %s (with the start of the processes)", len(leases), took.Round(time.Millisecond))
}

func executable(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRaceMachine is one machine of testRace.
func TestRaceMachine(t *testing.T) {
	if os.Getenv(roleEnv) != roleMachine {
		t.Skip("TestCluster runs this test in processes of their own")
	}
	name := os.Getenv("MACHINE")
	s := open(t, etcdstore.Config{Endpoints: strings.Split(os.Getenv("ENDPOINTS"), ","), Machine: name})
	ready(t, s)
	a := ipam.New(s, ipam.Config{Machine: name})
	pool := fleetPool("10.0.0.0/16")
	times := make([]time.Duration, raceEach)
	slots := make(chan struct{}, raceWide)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range raceEach {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			start := time.Now()
			if _, err := a.Allocate(context.Background(), request(fmt.Sprint(name, "-", i), pool)); err != nil {
				t.Error(err)
			}
			times[i] = time.Since(start)
		})
	}
	wg.Wait()
	t.Logf("%s: %d allocations in %s, %s; %+v", name, raceEach, time.Since(begin).Round(time.Millisecond), spread(times), s.Counters())
}

// loadTimeout is long enough for the choice of a new leader.
const loadTimeout = 4 * time.Second

// A load allocates and releases without end, and knows what must be there.
type load struct {
	t     *testing.T
	a     *ipam.Allocator
	store *etcdstore.Store
	pool  ipam.Pool

	mu      sync.Mutex
	times   []time.Duration
	errs    []error
	last    time.Time     // of a success
	longest time.Duration // without one
	held    map[string]netip.Prefix
	doubt   map[string]bool // ended in an error
}

// startLoad runs a load until stop is called, which checks that what the store
// says is there is what callers were told.
func startLoad(t *testing.T, c *cluster, network string) (l *load, stop func()) {
	t.Helper()
	s := open(t, etcdstore.Config{Endpoints: c.endpoints, Machine: network, Timeout: loadTimeout})
	ready(t, s)
	pool := fleetPool("10.0.0.0/16")
	pool.Network = network
	l = &load{t: t, a: ipam.New(s, ipam.Config{Machine: network}), store: s, pool: pool, last: time.Now(), held: map[string]netip.Prefix{}, doubt: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l.one(fmt.Sprintf("%d-%d", w, i), i%3 == 0)
			}
		})
	}
	return l, func() { cancel(); wg.Wait(); l.check() }
}

// one makes an allocation, and perhaps takes it back.
func (l *load) one(id string, release bool) {
	begin := time.Now()
	key := ipam.Key{Network: l.pool.Network, ContainerID: id, IfName: "eth0"}
	lease, err := l.a.Allocate(context.Background(), ipam.Request{Key: key, Pools: []ipam.Pool{l.pool}})
	released := false
	if err == nil && release {
		err = l.a.Release(context.Background(), key)
		released = err == nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times = append(l.times, time.Since(begin))
	switch {
	case err != nil:
		l.errs = append(l.errs, err)
		l.doubt[id] = true
		return
	case !released:
		l.held[id] = lease.Addr()
	}
	l.longest = max(l.longest, time.Since(l.last))
	l.last = time.Now()
}

// done returns how many operations succeeded.
func (l *load) done() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.times) - len(l.errs)
}

// more waits for n more successes and returns how long that took.
func (l *load) more(n int) time.Duration {
	l.t.Helper()
	from := l.done()
	return waitFor(l.t, fmt.Sprintf("%d allocations", n), 2*time.Minute, func() bool { return l.done() >= from+n })
}

func (l *load) check() {
	l.t.Helper()
	ready(l.t, l.store)
	patient := open(l.t, etcdstore.Config{Endpoints: l.store.Endpoints()})
	leases, err := ipam.New(patient, ipam.Config{}).List(context.Background(), l.pool.Network)
	if err != nil {
		l.t.Fatal(err)
	}
	there := map[string]netip.Prefix{}
	for _, le := range leases {
		there[le.ContainerID] = le.Addr()
	}
	for id, addr := range l.held {
		if there[id] != addr {
			l.t.Errorf("%s holds %s, the store has %s", id, addr, there[id])
		}
	}
	for id, addr := range there {
		if _, ok := l.held[id]; !ok && !l.doubt[id] {
			l.t.Errorf("%s was told that it holds nothing, the store has %s", id, addr)
		}
	}
	for _, err := range l.errs {
		if !errors.Is(err, ipam.ErrUnavailable) {
			l.t.Errorf("an error of another kind: %v", err)
		}
	}
	ipamtest.CheckStore(l.t, patient)
	l.t.Logf("%d operations, %s; longest without a success %s; %d errors; %+v",
		len(l.times), spread(l.times), l.longest.Round(time.Millisecond), len(l.errs), l.store.Counters())
	if len(l.errs) > 0 {
		l.t.Logf("the first error: %v", l.errs[0])
	}
}

// testMemberKilled kills the leader, or the member so many behind it.
func testMemberKilled(t *testing.T, c *cluster, behind int) {
	l, stop := startLoad(t, c, "killed"+fmt.Sprint(behind))
	defer stop()
	l.more(20)
	victim := c.members[(c.leader()+behind)%3]
	victim.kill()
	t.Logf("member killed: 20 more allocations after %s", l.more(20).Round(time.Millisecond))
	victim.start()
	t.Logf("member started: 20 more allocations after %s", l.more(20).Round(time.Millisecond))
}

// testLeaderCutOff cuts the leader off from everybody: it still believes that it
// leads, and must not answer.
func testLeaderCutOff(t *testing.T, c *cluster) {
	l, stop := startLoad(t, c, "cutoff")
	defer stop()
	l.more(20)
	name := fmt.Sprintf("m%d", c.leader()+1)
	c.link(name, "down")
	t.Logf("leader cut off: 20 more allocations after %s", l.more(20).Round(time.Millisecond))
	c.link(name, "up")
	t.Logf("leader is back: 20 more allocations after %s", l.more(20).Round(time.Millisecond))
}

// testClientCutOff cuts the machine off from etcd: errors in time, and all goes on
// by itself.
func testClientCutOff(t *testing.T, c *cluster) {
	l, stop := startLoad(t, c, "client")
	defer stop()
	l.more(20)
	run(t, "ip", "addr", "del", "10.77.0.254/24", "dev", "br0")
	errorsInTime(t, l)
	run(t, "ip", "addr", "add", "10.77.0.254/24", "dev", "br0")
	t.Logf("machine is back: 20 allocations after %s", l.more(20).Round(time.Millisecond))
}

// testAllKilled kills all members.
func testAllKilled(t *testing.T, c *cluster) {
	l, stop := startLoad(t, c, "all")
	defer stop()
	l.more(20)
	for _, m := range c.members {
		m.kill()
	}
	errorsInTime(t, l)
	for _, m := range c.members {
		m.start()
	}
	t.Logf("all started: 20 allocations after %s", l.more(20).Round(time.Millisecond))
}

// errorsInTime checks what callers get while etcd is away.
func errorsInTime(t *testing.T, l *load) {
	t.Helper()
	var wg sync.WaitGroup
	for name, op := range map[string]func() error{
		"allocate": func() error {
			_, err := l.a.Allocate(context.Background(), request("never", fleetPool("10.0.0.0/16")))
			return err
		},
		"list": func() error { _, err := l.a.List(context.Background(), "small"); return err },
	} {
		wg.Go(func() {
			begin := time.Now()
			err := op()
			took := time.Since(begin)
			if !errors.Is(err, ipam.ErrUnavailable) || took > loadTimeout+30*time.Second {
				t.Errorf("%s while etcd is away: %v after %s", name, err, took)
			}
			t.Logf("%s while etcd is away: after %s: %v", name, took.Round(time.Millisecond), err)
		})
	}
	wg.Wait()
}
