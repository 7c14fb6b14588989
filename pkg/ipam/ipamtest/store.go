// Package ipamtest is the contract of an ipam.Store as a suite of tests, run by
// every store.
package ipamtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// TestStore tests stores that open makes. Each call of open returns an empty
// store; the suite closes it.
func TestStore(t *testing.T, open func(t *testing.T) ipam.Store) {
	for _, c := range []struct {
		name string
		why  string
		run  func(t *testing.T, s ipam.Store) bool
	}{
		{"Commit", "what a transaction put is there for the next, what it deleted is not", commit},
		{"Rollback", "a transaction whose function fails leaves nothing, and its error comes out as it is", rollback},
		{"OwnWrites", "a transaction sees its own changes", ownWrites},
		{"ScanOrder", "Scan visits the keys of the prefix, and no others, in byte order, and stops when told", scanOrder},
		{"Copies", "a store keeps no slice that it was given", copies},
		{"ReadOnly", "a transaction that only reads cannot write", readOnly},
		{"Serial", "transactions that write come one after the other, and lose no change", serial},
		{"Cancel", "a cancelled context starts no transaction, also while another writes", cancelled},
		{"Close", "Close is idempotent, and Transact then returns ErrClosed", closed},
		{"Empty", "an empty value is a value, not its absence", emptyValue},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			defer func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			if !c.run(t, s) {
				t.Errorf("the contract is broken: %s", c.why)
			}
		})
	}
	t.Run("Allocator", func(t *testing.T) { TestAllocator(t, open) })
}

const table = ipam.TableLeases

// update runs fn in a transaction that writes, and reports whether it went well.
func update(t *testing.T, s ipam.Store, fn func(ipam.Tx) error) bool {
	t.Helper()
	if err := s.Transact(context.Background(), ipam.ReadWrite, fn); err != nil {
		t.Errorf("Transact: %v", err)
		return false
	}
	return true
}

// dump returns the keys and values of a table.
func dump(t *testing.T, s ipam.Store, prefix string) []string {
	t.Helper()
	var got []string
	err := s.Transact(context.Background(), ipam.ReadOnly, func(tx ipam.Tx) error {
		return tx.Scan(table, []byte(prefix), func(k, v []byte) bool {
			got = append(got, string(k)+"="+string(v))
			return true
		})
	})
	if err != nil {
		t.Errorf("Scan: %v", err)
	}
	return got
}

// putAll puts key=value for each key, value alternately.
func putAll(tx ipam.Tx, kv ...string) error {
	for i := 0; i < len(kv); i += 2 {
		if err := tx.Put(table, []byte(kv[i]), []byte(kv[i+1])); err != nil {
			return err
		}
	}
	return nil
}

func commit(t *testing.T, s ipam.Store) bool {
	ok := update(t, s, func(tx ipam.Tx) error { return putAll(tx, "a", "1", "b", "2") }) &&
		update(t, s, func(tx ipam.Tx) error {
			return errors.Join(tx.Delete(table, []byte("a")), tx.Delete(table, []byte("never")), putAll(tx, "b", "3"))
		})
	return ok && slices.Equal(dump(t, s, ""), []string{"b=3"})
}

func rollback(t *testing.T, s ipam.Store) bool {
	mine := errors.New("mine")
	update(t, s, func(tx ipam.Tx) error { return putAll(tx, "a", "1") })
	err := s.Transact(context.Background(), ipam.ReadWrite, func(tx ipam.Tx) error {
		return errors.Join(putAll(tx, "a", "2", "b", "2"), tx.Delete(table, []byte("a")), mine)
	})
	return errors.Is(err, mine) && slices.Equal(dump(t, s, ""), []string{"a=1"})
}

func ownWrites(t *testing.T, s ipam.Store) bool {
	var before, after []byte
	var scanned int
	ok := update(t, s, func(tx ipam.Tx) error {
		if err := putAll(tx, "a", "1"); err != nil {
			return err
		}
		v, err := tx.Get(table, []byte("a"))
		before = append(before, v...)
		if err != nil {
			return err
		}
		if err := tx.Scan(table, nil, func(_, _ []byte) bool { scanned++; return true }); err != nil {
			return err
		}
		if err := tx.Delete(table, []byte("a")); err != nil {
			return err
		}
		after, err = tx.Get(table, []byte("a"))
		return err
	})
	return ok && string(before) == "1" && after == nil && scanned == 1
}

func scanOrder(t *testing.T, s ipam.Store) bool {
	ok := update(t, s, func(tx ipam.Tx) error {
		return putAll(tx, "p\xff", "4", "p", "1", "q", "5", "p\x00b", "2", "o", "0", "pa", "3")
	})
	var first []string
	err := s.Transact(context.Background(), ipam.ReadOnly, func(tx ipam.Tx) error {
		return tx.Scan(table, []byte("p"), func(k, _ []byte) bool {
			first = append(first, string(k))
			return len(first) < 2
		})
	})
	return ok && err == nil && slices.Equal(first, []string{"p", "p\x00b"}) &&
		slices.Equal(dump(t, s, "p"), []string{"p=1", "p\x00b=2", "pa=3", "p\xff=4"})
}

func copies(t *testing.T, s ipam.Store) bool {
	key, value := []byte("key"), []byte("value")
	ok := update(t, s, func(tx ipam.Tx) error {
		err := tx.Put(table, key, value)
		copy(key, "XXX")
		copy(value, "XXXXX")
		return err
	})
	return ok && slices.Equal(dump(t, s, ""), []string{"key=value"})
}

func readOnly(t *testing.T, s ipam.Store) bool {
	err := s.Transact(context.Background(), ipam.ReadOnly, func(tx ipam.Tx) error {
		if tx.Put(table, []byte("a"), []byte("1")) == nil || tx.Delete(table, []byte("a")) == nil {
			return errors.New("written")
		}
		return nil
	})
	return err == nil && len(dump(t, s, "")) == 0
}

func serial(t *testing.T, s ipam.Store) bool {
	const writers, each = 4, 8
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				update(t, s, func(tx ipam.Tx) error {
					v, err := tx.Get(table, []byte("n"))
					if err != nil {
						return err
					}
					return tx.Put(table, []byte("n"), append(append([]byte(nil), v...), 'x'))
				})
			}
		})
	}
	wg.Wait()
	got := dump(t, s, "")
	return len(got) == 1 && len(got[0]) == len("n=")+writers*each
}

func cancelled(t *testing.T, s ipam.Store) bool {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	ran := false
	fn := func(ipam.Tx) error { ran = true; return nil }
	ok := errors.Is(s.Transact(done, ipam.ReadWrite, fn), context.Canceled) &&
		errors.Is(s.Transact(done, ipam.ReadOnly, fn), context.Canceled)
	waiting, stop := context.WithCancel(context.Background())
	var err error
	update(t, s, func(ipam.Tx) error {
		got := make(chan error, 1)
		go func() { got <- s.Transact(waiting, ipam.ReadWrite, fn) }()
		stop()
		err = <-got
		return nil
	})
	return ok && errors.Is(err, context.Canceled) && !ran
}

func closed(t *testing.T, s ipam.Store) bool {
	ok := errors.Join(s.Close(), s.Close()) == nil
	for _, access := range []ipam.Access{ipam.ReadOnly, ipam.ReadWrite} {
		err := s.Transact(context.Background(), access, func(ipam.Tx) error { return nil })
		if !errors.Is(err, ipam.ErrClosed) {
			t.Errorf("Transact after Close: %v", err)
			ok = false
		}
	}
	return ok
}

func emptyValue(t *testing.T, s ipam.Store) bool {
	var got []byte
	ok := update(t, s, func(tx ipam.Tx) error { return tx.Put(table, []byte("a"), nil) })
	err := s.Transact(context.Background(), ipam.ReadOnly, func(tx ipam.Tx) error {
		v, err := tx.Get(table, []byte("a"))
		if v != nil {
			got = append([]byte{}, v...)
		}
		return err
	})
	return ok && err == nil && got != nil
}
