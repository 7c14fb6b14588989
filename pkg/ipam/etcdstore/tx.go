package etcdstore

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

var errReadOnly = errors.New("transaction is read-only")

// A change is a record to be put or deleted.
type change struct {
	table   ipam.Table
	key     string
	value   []byte
	deleted bool
}

// changes by etcd key.
type changes map[string]change

// A tx is an ipam.Tx: a snapshot, and over it the changes of the transaction and
// of those before it that commit together.
type tx struct {
	snap    *snapshot
	access  ipam.Access
	changes changes
}

// Get implements ipam.Tx.
func (t *tx) Get(table ipam.Table, key []byte) ([]byte, error) {
	k := string(key)
	if c, ok := t.changes[t.snap.keys.encode(table, k)]; ok {
		t.snap.nets[network(k)] = true
		return c.value, nil
	}
	return t.snap.get(table, k)
}

// Put implements ipam.Tx.
func (t *tx) Put(table ipam.Table, key, value []byte) error {
	return t.change(change{table: table, key: string(key), value: append([]byte{}, value...)})
}

// Delete implements ipam.Tx.
func (t *tx) Delete(table ipam.Table, key []byte) error {
	return t.change(change{table: table, key: string(key), deleted: true})
}

func (t *tx) change(c change) error {
	if t.access == ipam.ReadOnly {
		return errReadOnly
	}
	t.changes[t.snap.keys.encode(c.table, c.key)] = c
	return nil
}

// Scan implements ipam.Tx: the records of the snapshot and the changes, merged.
func (t *tx) Scan(table ipam.Table, prefix []byte, visit func(key, value []byte) bool) error {
	mine := t.changed(table, string(prefix))
	stopped := false
	emit := func(key string, value []byte) bool {
		stopped = !visit([]byte(key), value)
		return !stopped
	}
	// before visits the changes whose keys are less than key.
	before := func(key string) bool {
		for len(mine) > 0 && mine[0].key < key {
			c := mine[0]
			mine = mine[1:]
			if !c.deleted && !emit(c.key, c.value) {
				return false
			}
		}
		return true
	}
	err := t.snap.scan(table, string(prefix), func(key string, value []byte) bool {
		if !before(key) {
			return false
		}
		if len(mine) > 0 && mine[0].key == key { // the next round visits it
			return true
		}
		return emit(key, value)
	})
	if err != nil || stopped {
		return err
	}
	for _, c := range mine {
		if !c.deleted && !emit(c.key, c.value) {
			return nil
		}
	}
	return nil
}

// changed returns the changes of a table by ascending key.
func (t *tx) changed(table ipam.Table, prefix string) []change {
	var cs []change
	for c := range maps.Values(t.changes) {
		if c.table == table && strings.HasPrefix(c.key, prefix) {
			cs = append(cs, c)
		}
	}
	slices.SortFunc(cs, func(a, b change) int { return strings.Compare(a.key, b.key) })
	return cs
}
