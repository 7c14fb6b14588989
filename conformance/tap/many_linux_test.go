package tap_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
)

// long reports whether everything is asked for, which takes some minutes.
func long() bool { return os.Getenv("VMNET_TAP_LONG") != "" }

// many is how many attachments: 200 when everything is asked for.
func many() int {
	if long() {
		return 200
	}
	return 30
}

// TestMany makes many attachments with everything that an attachment may have in
// the system, deletes them, and finds nothing of them.
func TestMany(t *testing.T) {
	m := machine(t, map[string]any{"frames": "tap", "capabilities": map[string]bool{"portMappings": true, "bandwidth": true}})
	if _, err := m.Add(soon(t), "first", "vm://x"); err != nil { // starts the shim
		t.Fatal(err)
	}
	if err := m.Del(soon(t), "first", "vm://x"); err != nil {
		t.Fatal(err)
	}
	before, files := traces(t), filesOf(t, m)
	all(t, func(i int) error {
		_, err := m.AddWith(soon(t), id(i), "vm://x", map[string]any{
			"portMappings": []map[string]any{
				{"hostPort": 20000 + i, "containerPort": 80, "protocol": "tcp"},
				{"hostPort": 20000 + i, "containerPort": 53, "protocol": "udp"},
			},
			"bandwidth": map[string]int{"ingressRate": 100_000_000, "ingressBurst": 10_000_000, "egressRate": 50_000_000, "egressBurst": 5_000_000},
		})
		return err
	})
	now := traces(t)
	for what, want := range map[string]int{
		`"ifname":"vmt`: 2 * many(), // ip link, ip addr
		"qdisc tbf ":    many(),
		"dnat ip to":    4 * many(), // from outside and from here
		"limit rate":    many(),
	} {
		if n := strings.Count(now, what); n != want {
			t.Errorf("%d of %q, want %d", n, what, want)
		}
	}
	all(t, func(i int) error { return m.Del(soon(t), id(i), "vm://x") })
	same(t, before)
	if now := filesOf(t, m); now != files {
		t.Errorf("files left:\n%s\nbefore:\n%s", now, files)
	}
}

func id(i int) string { return "c" + strconv.Itoa(i) }

func filesOf(t *testing.T, m *e2e.Machine) string {
	t.Helper()
	list, err := m.Files()
	if err != nil {
		t.Fatal(err)
	}
	var run []string
	for _, f := range list {
		if strings.HasPrefix(f, "run/") {
			run = append(run, f)
		}
	}
	return strings.Join(run, "\n")
}

// all does something with every attachment, several at a time.
func all(t *testing.T, do func(i int) error) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(8)
	for i := range many() {
		g.Go(func() error { return do(i) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestKilled kills the shim at random instants while attachments come and go. The
// next shim takes up what has a state file and takes away all else, before anybody
// asks for anything.
func TestKilled(t *testing.T) {
	m := machine(t, map[string]any{"capabilities": map[string]bool{"portMappings": true, "bandwidth": true}})
	before := traces(t)
	rounds := 2
	if long() {
		rounds = 8
	}
	for round := range rounds {
		if _, err := m.Add(soon(t), fmt.Sprintf("first%d", round), "vm://x"); err != nil {
			t.Fatal(err)
		}
		st, err := m.Client.Status(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(rand.IntN(400))*time.Millisecond, func() { _ = syscall.Kill(st.PID, syscall.SIGKILL) })
		var g errgroup.Group
		for i := range 12 {
			guest := "vm://x"
			if i%3 == 0 {
				guest = newSpace(t).path() // a container
			}
			g.Go(func() error {
				id := fmt.Sprintf("r%d-%d", round, i)
				// Both may meet the kill.
				_, _ = m.AddWith(soon(t), id, guest, map[string]any{
					"portMappings": []map[string]any{{"hostPort": 20000 + 12*round + i, "containerPort": 80, "protocol": "tcp"}},
					"bandwidth":    map[string]int{"ingressRate": 100_000_000, "ingressBurst": 10_000_000},
				})
				if i%2 == 0 {
					_ = m.Del(soon(t), id, guest)
				}
				return nil
			})
		}
		_ = g.Wait()
		if kill.Stop() {
			_ = syscall.Kill(st.PID, syscall.SIGKILL)
		}
		again(t, m, st.PID)
		if long() {
			mended(t, m)
		}
	}
	again(t, m, killed(t, m, syscall.SIGKILL)) // one that meets no request under way
	mended(t, m)
	if _, err := m.Client.GC(soon(t), m.Network(), nil); err != nil {
		t.Fatal(err)
	}
	same(t, before)
}

var ours = regexp.MustCompile(`\bvm[bt][0-9a-f]{10}\b`)

// again waits for a shim that is not the process pid.
func again(t *testing.T, m *e2e.Machine, pid int) {
	t.Helper()
	eventually(t, "another shim", func() bool {
		now, err := m.Client.Status(soon(t))
		return err == nil && now.PID != pid
	})
}

// mended waits until what the system has of us is what the attachments say. A request
// whose sender has gone is undone a little later.
func mended(t *testing.T, m *e2e.Machine) {
	t.Helper()
	var want, there, broken []string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		list, err := m.Client.Attachments(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		want, broken = nil, nil
		for _, a := range list {
			if a.Problem != "" { // it is tried again
				broken = append(broken, a.ContainerID+": "+a.Problem)
			}
			want = append(want, a.HostInterfaces...)
		}
		there = ours.FindAllString(traces(t), -1) // links, tables, disciplines
		if want, there = unique(want), unique(there); len(broken) == 0 && slices.Equal(want, there) {
			return
		}
	}
	t.Errorf("there is %v, of attachments is %v, broken are %q", there, want, broken)
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
