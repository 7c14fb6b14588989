package keeper

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/tempdir"
)

// TestSlowKeeper has a keeper hear nothing for a while, and a shim store and remove
// meanwhile: it says that this takes longer, does not wait for each again, and then the
// keeper has what it should.
func TestSlowKeeper(t *testing.T) {
	dir, err := tempdir.Make("kp") // sockets need a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	k := &keeper{cfg: Config{Dir: dir, Logf: t.Logf}, store: store{max: DefaultMaxFiles}}
	defer k.store.close()
	if err := k.listen(); err != nil {
		t.Fatal(err)
	}
	defer k.ear.close()
	n, err := NewNotifier(k.ear.path)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	n.wait = 100 * time.Millisecond
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()

	want := map[string]bool{}
	store := func() error {
		name := fmt.Sprintf("n%04d", len(want))
		want[name] = true
		return n.Store(name, r)
	}
	k.mu.Lock() // it hears one message, and cannot obey
	for err = store(); err == nil && len(want) < 4000; err = store() {
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a keeper that does not read: %v", err)
	}
	for range 20 {
		_ = store() // the same
	}
	for _, name := range []string{"n0000", fmt.Sprintf("n%04d", len(want)-1)} { // it has the one, and not the other
		delete(want, name)
		_ = n.Remove(name)
	}
	_ = n.Store("n0001", w) // another, in the place of the one that it has
	if names := behind(n); names > 30 {
		t.Errorf("the keeper is to be told again of %d names", names)
	}
	k.mu.Unlock()

	has := func() map[string]bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		now := map[string]bool{}
		for _, kept := range k.store.all {
			if now[kept.name] {
				t.Fatalf("%s is kept twice", kept.name)
			}
			now[kept.name] = true
		}
		return now
	}
	for end := time.Now().Add(time.Minute); !maps.Equal(has(), want) || n.Sync() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d are kept, want %d", len(has()), len(want))
		}
	}
	if now := has(); !maps.Equal(now, want) {
		t.Errorf("in the end %d are kept, want %d", len(now), len(want))
	}
}

// behind counts the names of which the keeper is to be told again.
func behind(n *Notifier) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.behind)
}

// TestDeadKeeper stores where nobody listens any more: that is told at once, and noted
// for another keeper only.
func TestDeadKeeper(t *testing.T) {
	dir, err := tempdir.Make("kp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	k := &keeper{cfg: Config{Dir: dir, Logf: t.Logf}, store: store{max: 8}}
	defer k.store.close()
	if err := k.listen(); err != nil {
		t.Fatal(err)
	}
	n, err := NewNotifier(k.ear.path)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	k.ear.close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	if err := n.Store("a", r); err == nil || errors.Is(err, os.ErrDeadlineExceeded) || n.Held() != 1 || behind(n) != 0 {
		t.Errorf("%v, %d held, %d behind", err, n.Held(), behind(n))
	}
	if err := k.listen(); err != nil {
		t.Fatal(err)
	}
	defer k.ear.close()
	err = errors.Join(n.MoveTo(k.ear.path), n.Sync())
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil || len(k.store.all) != 1 {
		t.Errorf("another keeper: %v, it has %v", err, k.store.all)
	}
}
