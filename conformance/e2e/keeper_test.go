package e2e_test

import (
	"encoding/binary"
	"errors"
	"flag"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// keeperKills is how often TestKeeper kills the shim in each world; docs/operate.md
// names the run with 200.
var keeperKills = flag.Int("keeper-kills", 8, "how often TestKeeper kills the shim in each world and framing")

// keeperTimed has TestKeeper fail when guests are not heard again soon enough, which
// says something only on a machine that has nothing else to do.
var keeperTimed = flag.Bool("keeper-timed", false, "TestKeeper fails when the 99th percentile of the silence is over 1 s")

// A talker is a guest that sends a frame with the time to another every few
// milliseconds, and notes the latest time that it heard.
type talker struct {
	port  relay.Port
	mac   net.HardwareAddr
	to    net.HardwareAddr
	heard atomic.Int64 // when the latest frame that came was sent, in nanoseconds
	stop  chan struct{}
	wg    sync.WaitGroup
}

func newTalker(t testing.TB, port relay.Port, r *types100.Result) *talker {
	t.Helper()
	mac, err := net.ParseMAC(r.Interfaces[0].Mac)
	if err != nil {
		t.Fatal(err)
	}
	return &talker{port: port, mac: mac, stop: make(chan struct{})}
}

// talk starts two talkers.
func talk(a, b *talker) {
	a.to, b.to = b.mac, a.mac
	for _, k := range []*talker{a, b} {
		k.wg.Go(k.send)
		k.wg.Go(k.hear)
	}
}

func (k *talker) send() {
	f := make([]byte, 60+rand.IntN(900))
	copy(f, k.to)
	copy(f[6:], k.mac)
	f[12], f[13] = 0x88, 0xb5 // IEEE 802, local experiment
	for tick := time.NewTicker(2 * time.Millisecond); ; {
		select {
		case <-k.stop:
			tick.Stop()
			return
		case <-tick.C:
			binary.BigEndian.PutUint64(f[14:], uint64(time.Now().UnixNano()))
			_, _ = k.port.WriteBatch([][]byte{f}) // refused or full: the next one goes
		}
	}
}

func (k *talker) hear() {
	buf := [][]byte{make([]byte, 65536)}
	var size [1]int
	for {
		n, err := k.port.ReadBatch(buf, size[:])
		if err != nil {
			return
		}
		if n == 1 && size[0] >= 22 && buf[0][12] == 0x88 && buf[0][13] == 0xb5 && string(buf[0][6:12]) == string(k.to) {
			k.heard.Store(int64(binary.BigEndian.Uint64(buf[0][14:])))
		}
	}
}

func (k *talker) end() {
	close(k.stop)
	_ = k.port.Close()
	k.wg.Wait()
}

// hears waits until the talker has heard what was sent after from, and returns how
// long after from that was.
func (k *talker) hears(t testing.TB, from time.Time) time.Duration {
	t.Helper()
	for k.heard.Load() <= from.UnixNano() {
		if time.Since(from) > 10*time.Second {
			t.Fatalf("guest %s heard nothing for 10 s", k.mac)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(from)
}

// TestKeeper kills the shim at random instants, has it upgraded, and kills the
// keeper, while guests of every kind talk: each is heard again soon, on the
// connection that it has, with the MAC and the address that it had, and nothing is
// lost or left.
func TestKeeper(t *testing.T) {
	inWorlds(t, func(t *testing.T, w *world) {
		for _, kind := range []string{"dgram", "stream"} {
			t.Run(kind, func(t *testing.T) { survive(t, w, kind) })
		}
	})
}

func survive(t *testing.T, w *world, kind string) {
	m := w.machine(t, map[string]any{"frames": kind})
	var talkers []*talker
	results := map[string]*types100.Result{}
	add := func(id string, port relay.Port, r *types100.Result) {
		results[id] = r
		talkers = append(talkers, newTalker(t, port, r))
	}
	for _, id := range []string{"fd1", "fd2"} {
		port, r := push(t, m, id)
		add(id, port, r)
	}
	for _, way := range []string{"dgram", "stream"} {
		port, r := dial(way)(t, m, way)
		add(way, port, r)
	}
	talk(talkers[0], talkers[2]) // a descriptor and a named datagram socket
	talk(talkers[1], talkers[3]) // a descriptor and a connection
	defer func() {
		for _, k := range talkers {
			k.end()
		}
		for id := range results {
			if err := m.Del(soon(t), id, ""); err != nil {
				t.Error(err)
			}
		}
		empty(t, m)
	}()
	all := func(from time.Time) (times []time.Duration) {
		for _, k := range talkers {
			times = append(times, k.hears(t, from))
		}
		return times
	}
	all(time.Now())
	var times []time.Duration
	var first census
	for i := range *keeperKills {
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond) // the instant is the point
		from := strike(t, m, i)
		times = append(times, all(from)...)
		same(t, m, results)
		now := count(t, m)
		for end := time.Now().Add(5 * time.Second); i > 0 && now != first && time.Now().Before(end); now = count(t, m) {
			time.Sleep(time.Millisecond) // the keeper reads READY=1 a moment later
		}
		if i == 0 {
			first = now
		} else if now != first {
			files, _ := m.Files()
			t.Errorf("after %d deaths: %+v, after the first: %+v: %q", i+1, now, first, files)
		}
	}
	slices.Sort(times)
	p99 := times[len(times)*99/100]
	t.Logf("%s, %s: heard again after p50 %s, p99 %s, at most %s (%d times)", w.name, kind, times[len(times)/2], p99, times[len(times)-1], len(times))
	if *keeperTimed && p99 > time.Second {
		t.Errorf("p99 %s: want at most 1 s", p99)
	}
}

// strike ends the shim in one of the ways in which it can end, and returns when.
func strike(t *testing.T, m *e2e.Machine, i int) time.Time {
	t.Helper()
	s, err := m.Client.Status(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	signal := syscall.SIGKILL
	switch i % 8 {
	case 3:
		signal = syscall.SIGHUP
	case 6:
		if err := syscall.Kill(s.Keeper, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		wait(t, "another keeper", func() bool {
			now, err := m.Client.Status(soon(t))
			return err == nil && now.Keeper != s.Keeper && now.PID == s.PID
		})
	}
	from := time.Now()
	if err := syscall.Kill(s.PID, signal); err != nil {
		t.Fatal(err)
	}
	wait(t, "another shim", func() bool {
		now, err := m.Client.Status(soon(t))
		return err == nil && now.PID != s.PID
	})
	return from
}

// same checks that every attachment is as it was.
func same(t *testing.T, m *e2e.Machine, results map[string]*types100.Result) {
	t.Helper()
	for id, r := range results {
		a, err := m.Client.Attachment(soon(t), m.Network(), id, e2e.IfName)
		switch {
		case err != nil:
			t.Error(err)
		case a.Problem != "" || !a.Peer.Connected:
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
	s, err := m.Client.Status(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/" + strconv.Itoa(s.Keeper) + "/fd")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	files, err := m.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fds { // those of the store are sockets
		if to, err := os.Readlink("/proc/" + strconv.Itoa(s.Keeper) + "/fd/" + f.Name()); err == nil && len(to) > 6 && to[:6] == "socket" {
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
