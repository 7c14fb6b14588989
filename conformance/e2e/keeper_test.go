package e2e_test

import (
	"errors"
	"flag"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// keeperKills is how often TestKeeper kills the shim in each world; docs/operate.md
// names the run with 200.
var keeperKills = flag.Int("keeper-kills", 8, "how often TestKeeper kills the shim in each world and framing")

// keeperTimed has TestKeeper fail when guests are not heard again soon enough, which
// says something only on a machine that has nothing else to do.
var keeperTimed = flag.Bool("keeper-timed", false, "TestKeeper fails when the 99th percentile of the silence is over 1 s")

// TestKeeper kills the shim at random instants, has it upgraded, and kills the
// keeper, while guests of every kind talk: each is heard again soon, on the
// connection that it has, with the MAC and the address that it had, and nothing is
// lost or left. In the long run a real Linux guest is among them.
func TestKeeper(t *testing.T) {
	inWorlds(t, func(t *testing.T, w *world) {
		kinds := []string{"dgram", "stream"}
		if w.name == "tap" {
			kinds = append(kinds, "tap")
		}
		for _, kind := range kinds {
			t.Run(kind, func(t *testing.T) { survive(t, w, kind) })
		}
	})
}

// A listener is a guest that says how long it heard nothing.
type listener interface {
	listen()
	hears(t testing.TB, from time.Time)
	silence() time.Duration
	end()
}

// A crowd is guests of one network that talk to each other.
type crowd struct {
	m         *e2e.Machine
	results   map[string]*types100.Result
	listeners map[string]listener
}

// gather makes guests of every kind.
func gather(t *testing.T, w *world, m *e2e.Machine, kind string) *crowd {
	c := &crowd{m: m, results: map[string]*types100.Result{}, listeners: map[string]listener{}}
	add := func(id string, port relay.Port, r *types100.Result) *talker {
		k := newTalker(t, port, r)
		k.who, c.results[id], c.listeners[id] = id, r, k
		return k
	}
	fd := func(id string) *talker {
		port, r := push(t, m, id)
		return add(id, port, r)
	}
	path := func(way string) *talker {
		if kind == "tap" {
			return fd(way) // no path leads to a tap
		}
		port, r := dial(way)(t, m, "path-"+way)
		return add("path-"+way, port, r)
	}
	talk(fd("fd1"), path("dgram"))
	talk(fd("fd2"), path("stream"))
	if runtime.GOOS == "linux" && os.Geteuid() == 0 {
		port, r := contain(t, m, "container")
		talk(fd("fd3"), add("container", port, r))
	}
	if *keeperKills > 8 {
		c.results["linux"], c.results["beside"], c.listeners["linux"] = linuxTalks(t, m, kind)
	}
	return c
}

func (c *crowd) end(t *testing.T) {
	for _, l := range c.listeners {
		l.end()
	}
	for id := range c.results {
		if err := c.m.Del(soon(t), id, ""); err != nil {
			t.Error(err)
		}
	}
	empty(t, c.m)
}

func survive(t *testing.T, w *world, kind string) {
	m := w.machine(t, map[string]any{"frames": kind})
	c := gather(t, w, m, kind)
	defer c.end(t)
	now := time.Now()
	for _, l := range c.listeners {
		l.hears(t, now)
	}
	times := map[string][]time.Duration{}
	var first census
	for i := range *keeperKills {
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond) // the instant is the point
		strike(t, c, i)
		now := time.Now()
		for id, l := range c.listeners {
			l.hears(t, now)
			times[id] = append(times[id], l.silence())
		}
		same(t, m, c.results)
		if i == 0 {
			first = count(t, m)
			continue
		}
		after := count(t, m)
		for end := time.Now().Add(time.Minute); after != first && time.Now().Before(end); after = count(t, m) {
			time.Sleep(time.Millisecond) // the keeper reads READY=1 a moment later
		}
		if after != first {
			files, _ := m.Files()
			t.Errorf("after %d deaths: %+v, after the first: %+v: %q", i+1, after, first, files)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(times)) {
		list := times[id]
		slices.Sort(list)
		p99 := list[len(list)*99/100]
		t.Logf("%s, %s, %s: nothing heard for p50 %s, p99 %s, at most %s (%d deaths)", w.name, kind, id,
			list[len(list)/2].Round(time.Millisecond), p99.Round(time.Millisecond), list[len(list)-1].Round(time.Millisecond), len(list))
		if *keeperTimed && p99 > time.Second {
			t.Errorf("%s: p99 %s: want at most 1 s", id, p99)
		}
	}
}

// strike ends the shim in one of the ways in which it can end, and returns when
// another one answers.
func strike(t *testing.T, c *crowd, i int) {
	t.Helper()
	s, err := c.m.Client.Status(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	signal, upgrade := syscall.SIGKILL, i%8 == 3
	switch {
	case upgrade:
		signal = syscall.SIGHUP
		anotherProgram(t)
	case i%8 == 6:
		if err := syscall.Kill(s.Keeper, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		wait(t, "another keeper", func() bool {
			now, err := c.m.Client.Status(soon(t))
			return err == nil && now.Keeper != s.Keeper && now.PID == s.PID
		})
	}
	for _, l := range c.listeners {
		l.listen()
	}
	if err := syscall.Kill(s.PID, signal); err != nil {
		t.Fatal(err)
	}
	var now shim.Status
	wait(t, "another shim", func() bool {
		now, err = c.m.Client.Status(soon(t))
		return err == nil && now.PID != s.PID
	})
	if upgrade {
		runs(t, now.PID)
	}
}

// anotherProgram puts a new file in the place of the shim's program, as an upgrade
// does.
func anotherProgram(t *testing.T) {
	t.Helper()
	path := filepath.Join(bin, shim.BinaryName)
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path+".new", data, 0o755)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// runs checks that the process runs the file that is there now.
func runs(t *testing.T, pid int) {
	t.Helper()
	is, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
	if errors.Is(err, os.ErrNotExist) {
		return // not on this system, or the process has been followed by another
	}
	want, werr := os.Stat(filepath.Join(bin, shim.BinaryName))
	if err = errors.Join(err, werr); err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(is, want) {
		t.Error("the shim still runs the program of before")
	}
}

// same checks that every attachment is as it was.
func same(t *testing.T, m *e2e.Machine, results map[string]*types100.Result) {
	t.Helper()
	for id, r := range results {
		a, err := m.Client.Attachment(soon(t), m.Network(), id, e2e.IfName)
		switch {
		case err != nil:
			t.Error(err)
		case a.Problem != "" || !a.Peer.Connected && a.Frames != shim.FramesTap:
			t.Errorf("%s: problem %q, peer %+v", id, a.Problem, a.Peer)
		case a.MAC != r.Interfaces[0].Mac || len(a.IPs) != len(r.IPs) || a.IPs[0].Address.String() != r.IPs[0].Address.String():
			t.Errorf("%s: now %s %v, was %s %v", id, a.MAC, a.IPs, r.Interfaces[0].Mac, r.IPs)
		}
	}
}

// A census counts what must not grow.
type census struct{ kept, files int }

func count(t *testing.T, m *e2e.Machine) (c census) {
	t.Helper()
	var files []string
	wait(t, "the keeper's READY=1", func() bool { // what came before it is done as well
		var err error
		if files, err = m.Files(); err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(files, func(f string) bool { return strings.HasPrefix(f, "run/keeper-") })
	})
	s, err := m.Client.Status(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/" + strconv.Itoa(s.Keeper) + "/fd")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, f := range fds { // those of the store are sockets and taps
		to, err := os.Readlink("/proc/" + strconv.Itoa(s.Keeper) + "/fd/" + f.Name())
		if err == nil && (strings.HasPrefix(to, "socket") || to == "/dev/net/tun" || strings.HasPrefix(to, "/dev/tap")) {
			c.kept++
		}
	}
	for _, f := range files {
		if f != "run/keeper.json" {
			c.files++
		}
	}
	return c
}
