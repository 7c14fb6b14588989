package boltstore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// aFile returns the bytes of a bbolt file with nested and inline buckets and
// free pages.
func aFile(t testing.TB, records int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, PageSize: 1024})
	if err != nil {
		t.Fatal(err)
	}
	fill := func(n int) error {
		return db.Update(func(tx *bolt.Tx) error {
			root, err := tx.CreateBucketIfNotExists([]byte(rootBucket))
			for _, table := range ipam.Tables() {
				if err == nil {
					_, err = root.CreateBucketIfNotExists([]byte(table))
				}
			}
			for i := 0; i < n && err == nil; i++ {
				err = root.Bucket([]byte(ipam.TableSticky)).Put([]byte{byte(i), byte(i >> 8)}, []byte(strings.Repeat("v", i)))
			}
			return err
		})
	}
	if err := errors.Join(fill(records/2), fill(records), db.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestCheckFormat(t *testing.T) {
	for _, n := range []int{0, 1, 10, 100, 1000} {
		if err := checkFormat(aFile(t, n)); err != nil {
			t.Errorf("%d records: %v", n, err)
		}
	}
}

func TestUnfinished(t *testing.T) {
	if got := unfinished(nil); !got {
		t.Error("an empty file is one that was not finished")
	}
	if unfinished([]byte("hello")) {
		t.Error("a foreign file is not one that was not finished")
	}
}

// FuzzCheckFormat changes bytes of a file. checkFormat must not panic; what it
// passes, bbolt must be able to read through.
func FuzzCheckFormat(f *testing.F) {
	good := aFile(f, 20)
	f.Add(uint16(0), []byte{1})
	f.Add(uint16(1024*3+8), []byte{2, 0, 255, 255})
	f.Add(uint16(1024*2+10), []byte{255, 255, 0, 0, 0, 0})
	f.Add(uint16(1024*3+20), []byte{255, 255, 255, 255})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, at uint16, change []byte) {
		data := append([]byte(nil), good...)
		copy(data[int(at)%len(data):], change)
		if err := checkFormat(data); err != nil {
			if !errors.Is(err, ipam.ErrCorrupt) {
				t.Error(err)
			}
			return
		}
		path := filepath.Join(dir, "f.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				t.Errorf("bbolt's own check: %v", err)
			}
			return nil
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Error(err)
		}
	})
}
