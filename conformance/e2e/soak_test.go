package e2e_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
)

// soakTime is how long TestSoak runs; make soak sets it.
var soakTime = flag.Duration("soak", 0, "how long TestSoak runs; 0: not at all")

const (
	soakGuests = 50
	soakKill   = 20 * time.Second // between two deaths of the shim
)

// TestSoak has guests come and go with traffic while the shim is killed, and
// compares what shim and keeper hold with nobody there at the end with what they
// held after the first part.
func TestSoak(t *testing.T) {
	if *soakTime == 0 {
		t.Skip("it runs with -soak only: make soak")
	}
	m := newMachine(t, map[string]any{"frames": "dgram"})
	if _, err := m.Add(soon(t), "anchor", "vm://anchor"); err != nil { // without one the shim leaves
		t.Fatal(err)
	}
	defer func() {
		if err := m.Del(soon(t), "anchor", "vm://anchor"); err != nil {
			t.Error(err)
		}
	}()
	part := min(time.Minute, *soakTime/3)
	var deaths int
	first := soak(t, m, part, &deaths)
	last := soak(t, m, *soakTime-part, &deaths)
	t.Logf("%d deaths of the shim; after %s %+v, after %s %+v", deaths, part, first, *soakTime, last)
	if last.files != first.files || last.fds > first.fds+2 || last.keeperFDs > first.keeperFDs || last.goroutines > first.goroutines+2 {
		t.Errorf("after %s %+v, after %s %+v: want the same", part, first, *soakTime, last)
	}
	if grown := last.keeperKB - first.keeperKB; grown > 4096 {
		t.Errorf("the keeper has grown by %d KiB", grown)
	}
	// What a start has left is garbage until the collector has come, which is every
	// two minutes where nothing happens.
	most, now := first.shimKB*3/2+8192, last.shimKB
	for end := time.Now().Add(3 * time.Minute); now > most && time.Now().Before(end); now = anonymous(t, last.pid) {
		time.Sleep(time.Second)
	}
	if now > most {
		t.Errorf("the shim has grown from %d KiB to %d KiB, and then %d KiB", first.shimKB, last.shimKB, now)
	}
}

// A hoard is what two processes hold.
type hoard struct {
	fds, keeperFDs, goroutines, files int
	shimKB, keeperKB                  int // anonymous memory
	pid                               int // the shim's
}

// soak runs for so long, and returns what is held when all guests have gone.
func soak(t *testing.T, m *e2e.Machine, span time.Duration, deaths *int) hoard {
	t.Helper()
	end := time.Now().Add(span)
	var wg sync.WaitGroup
	for i := range soakGuests / 2 {
		wg.Go(func() {
			for n := 0; time.Now().Before(end) && !t.Failed(); n++ {
				pair(t, m, fmt.Sprintf("g%d-%d", i, n), end)
			}
		})
	}
	for next := time.Now().Add(min(soakKill, span/3)); next.Before(end); next = next.Add(min(soakKill, span/3)) {
		time.Sleep(time.Until(next))
		if s, err := m.Client.Status(soon(t)); err == nil {
			_ = syscall.Kill(s.PID, syscall.SIGKILL)
			*deaths++
		}
	}
	wg.Wait()
	s, err := m.Client.Status(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	// The same age for every shim that is looked at.
	if err := syscall.Kill(s.PID, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	wait(t, "another shim", func() bool {
		now, err := m.Client.Status(soon(t))
		ok := err == nil && now.PID != s.PID
		if ok {
			s = now
		}
		return ok
	})
	h := hoard{pid: s.PID, goroutines: s.Goroutines, fds: open(t, s.PID), keeperFDs: open(t, s.Keeper), shimKB: anonymous(t, s.PID), keeperKB: anonymous(t, s.Keeper)}
	files, err := m.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f != "run/keeper.json" && !strings.HasPrefix(f, "state/shim.log") {
			h.files++
		}
	}
	return h
}

// pair has two guests talk for some seconds.
func pair(t *testing.T, m *e2e.Machine, id string, end time.Time) {
	portA, ra := push(t, m, id+"a")
	portB, rb := dial([]string{"dgram", "stream"}[rand.IntN(2)])(t, m, id+"b")
	a, b := newTalker(t, portA, ra), newTalker(t, portB, rb)
	talk(a, b)
	until := time.Now().Add(time.Duration(2+rand.IntN(10)) * time.Second)
	for time.Now().Before(until) && time.Now().Before(end) && !t.Failed() {
		a.hears(t, time.Now())
		b.hears(t, time.Now())
		time.Sleep(200 * time.Millisecond)
	}
	a.end()
	b.end()
	for _, id := range []string{id + "a", id + "b"} {
		if err := m.Del(soon(t), id, ""); err != nil {
			t.Error(err)
		}
	}
}

func open(t *testing.T, pid int) int {
	fds, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// anonymous returns a process's memory that no file is behind, in KiB.
func anonymous(t *testing.T, pid int) (kb int) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "RssAnon:")
	_, err = fmt.Sscan(rest, &kb)
	if err != nil {
		t.Fatal(err)
	}
	return kb
}
