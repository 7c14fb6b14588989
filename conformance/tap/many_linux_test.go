package tap_test

import (
	"fmt"
	"math/rand/v2"
	"os"
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
	return 50
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
	all(t, func(id string) error { _, err := m.Add(soon(t), id, "vm://x"); return err })
	if n := strings.Count(traces(t), `"ifname":"vmt`); n < many() {
		t.Errorf("%d taps, want %d", n, many())
	}
	all(t, func(id string) error { return m.Del(soon(t), id, "vm://x") })
	same(t, before)
	if now := filesOf(t, m); now != files {
		t.Errorf("files left:\n%s\nbefore:\n%s", now, files)
	}
}

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
func all(t *testing.T, do func(id string) error) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(8)
	for i := range many() {
		g.Go(func() error { return do("c" + strconv.Itoa(i)) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestKilled kills the shim at random instants while attachments come and go. The
// next shim takes up what has a state file and takes away all else.
func TestKilled(t *testing.T) {
	m := machine(t, nil)
	before := traces(t)
	for round := range 4 {
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
			g.Go(func() error {
				id := fmt.Sprintf("r%d-%d", round, i)
				_, _ = m.Add(soon(t), id, "vm://x") // may meet the kill
				if i%2 == 0 {
					_ = m.Del(soon(t), id, "vm://x")
				}
				return nil
			})
		}
		_ = g.Wait()
		if kill.Stop() {
			_ = syscall.Kill(st.PID, syscall.SIGKILL)
		}
	}
	// A DEL for each, as a runtime sends it, brings the last shim up and everything
	// to an end.
	for round := range 4 {
		for _, id := range append([]string{fmt.Sprintf("first%d", round)}, ids(round)...) {
			if err := m.Del(soon(t), id, "vm://x"); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := m.Add(soon(t), "last", "vm://x"); err != nil {
		t.Fatal(err)
	}
	if err := m.Del(soon(t), "last", "vm://x"); err != nil {
		t.Fatal(err)
	}
	same(t, before)
}

func ids(round int) (list []string) {
	for i := range 12 {
		list = append(list, fmt.Sprintf("r%d-%d", round, i))
	}
	return list
}
