package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/boltstore"
	"github.com/vmnet-cni/vmnet/pkg/ipam/ipamtest"
)

// filled returns the bytes of a file with leases, enough for branch pages.
func filled(t testing.TB, leases int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leases.db")
	a := ipam.New(open(t, path, boltstore.Config{NoSync: true}), ipam.Config{})
	pool := killPool()
	pool.Ranges[0].Subnet = pool.Ranges[0].Subnet.Masked()
	for i := range leases {
		p := ipam.SubnetPool(fmt.Sprint("n", i), pool.Ranges[0].Subnet, pool.Ranges[0].Gateway)
		key := ipam.Key{Network: p.Network, ContainerID: strings.Repeat("c", 200), IfName: "eth0"}
		if _, err := a.Allocate(context.Background(), ipam.Request{Key: key, Pools: []ipam.Pool{p}}); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			if err := a.Release(context.Background(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// openDamaged opens a file with the data and uses it. It returns what was told of
// damage; a file that was set aside must be there with its data.
func openDamaged(t testing.TB, data []byte) *boltstore.Damage {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leases.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var damage *boltstore.Damage
	s, err := boltstore.Open(path, boltstore.Config{NoSync: true, OnDamage: func(d boltstore.Damage) { damage = &d }})
	if errors.Is(err, boltstore.ErrVersion) { // the name of the bucket was hit
		return &boltstore.Damage{Path: path, Err: err}
	}
	if err != nil {
		t.Fatal(err)
	}
	a := ipam.New(s, ipam.Config{})
	if _, err := a.Allocate(context.Background(), ipam.Request{Key: ipamtest.Key("a"), Pools: []ipam.Pool{ipamtest.Small()}}); err != nil {
		t.Errorf("allocate after damage %+v: %v", damage, err)
	}
	ipamtest.CheckStore(t, s)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if damage != nil {
		if kept, err := os.ReadFile(damage.SavedAs); err != nil || string(kept) != string(data) {
			t.Errorf("set aside as %s: %d bytes, %v, want %d", damage.SavedAs, len(kept), err, len(data))
		}
		if !errors.Is(damage.Err, ipam.ErrCorrupt) || damage.Path != path {
			t.Errorf("damage %+v", damage)
		}
	}
	return damage
}

func TestDamage(t *testing.T) {
	good := filled(t, 40)
	if d := openDamaged(t, good); d != nil {
		t.Fatalf("a whole file was set aside: %v", d.Err)
	}
	for name, data := range map[string][]byte{
		"text":         []byte("this is not a database"),
		"zeros":        make([]byte, 40000),
		"cut in half":  good[:len(good)/2],
		"first page":   good[:4096],
		"without meta": append(make([]byte, 8192), good[8192:]...),
	} {
		t.Run(name, func(t *testing.T) {
			d := openDamaged(t, data)
			if name == "first page" { // as when killed while making the file
				if d != nil {
					t.Errorf("set aside: %v", d.Err)
				}
			} else if d == nil {
				t.Error("not set aside")
			}
		})
	}
	if d := openDamaged(t, nil); d != nil {
		t.Errorf("an empty file was set aside: %v", d.Err)
	}
}

// TestBitFlips changes random bytes, at which bbolt alone would panic, fault or
// recurse for ever. Whatever is found or not, Open must return a store that works.
func TestBitFlips(t *testing.T) {
	good := filled(t, 60)
	rnd := rand.New(rand.NewPCG(1, 2))
	found := 0
	const rounds = 150
	for range rounds {
		data := append([]byte(nil), good...)
		at := rnd.IntN(len(data))
		if rnd.IntN(2) == 0 { // into a page header, or the elements after it
			at = at/4096*4096 + rnd.IntN(64)
		}
		data[at] ^= 1 << rnd.IntN(8)
		if openDamaged(t, data) != nil {
			found++
		}
		if t.Failed() {
			t.Fatalf("byte %d", at)
		}
	}
	t.Logf("%d of %d changes were found; the others lie in free space or free text", found, rounds)
}

func TestAsideIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "leases.db")
	for range 7 {
		if err := os.WriteFile(path, []byte("not a database"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := boltstore.Open(path, boltstore.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 5 {
		t.Errorf("%d files, %v, want the file and 4 set aside", len(entries), err)
	}
}

func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.db")
	first := open(t, path, boltstore.Config{})
	_, err := boltstore.Open(path, boltstore.Config{Timeout: 30 * time.Millisecond})
	if !errors.Is(err, boltstore.ErrLocked) {
		t.Fatalf("open a second time: %v", err)
	}
	want := fmt.Sprintf("process %d ", os.Getpid())
	if locks, _ := os.ReadFile("/proc/locks"); strings.Contains(string(locks), fmt.Sprintf(" %d ", os.Getpid())) && !strings.Contains(err.Error(), want) {
		t.Errorf("the holder is not named: %v", err)
	}
	time.AfterFunc(30*time.Millisecond, func() { _ = first.Close() })
	second, err := boltstore.Open(path, boltstore.Config{})
	if err != nil {
		t.Fatalf("open while another closes: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

func TestCannotOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := boltstore.Open(filepath.Join(dir, "none", "leases.db"), boltstore.Config{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if _, err := boltstore.Open(dir, boltstore.Config{}); err == nil || errors.Is(err, ipam.ErrCorrupt) {
		t.Errorf("a directory: %v", err)
	}
	path := filepath.Join(dir, "newer.db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("ipam/2")); return err })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := boltstore.Open(path, boltstore.Config{}); !errors.Is(err, boltstore.ErrVersion) {
		t.Errorf("a newer version: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Error("a file of a newer version was changed")
	}
}

// TestFiles opens and closes stores, whole and damaged, and counts descriptors.
func TestFiles(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc/self/fd")
		}
		return len(entries)
	}
	good := filled(t, 3)
	before := count()
	for i := range 5 {
		openDamaged(t, good[:len(good)-i*4096])
		if _, err := boltstore.Open(t.TempDir(), boltstore.Config{}); err == nil {
			t.Fatal("a directory was opened")
		}
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

func BenchmarkStore(b *testing.B) {
	for name, noSync := range map[string]bool{"Sync": false, "NoSync": true} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir() // on the disk of the machine, or wherever TMPDIR says
			ipamtest.BenchmarkStore(b, open(b, filepath.Join(dir, "leases.db"), boltstore.Config{NoSync: noSync}))
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "leases.db")
	if err := os.WriteFile(path, filled(b, 1000), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := open(b, path, boltstore.Config{}).Close(); err != nil {
			b.Fatal(err)
		}
	}
}
