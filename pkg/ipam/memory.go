package ipam

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/google/btree"
)

// NewMemoryStore returns an empty store that lives as long as the process.
func NewMemoryStore() Store {
	s := &memoryStore{writer: make(chan struct{}, 1), tables: map[Table]*memoryTable{}}
	for _, t := range Tables() {
		s.tables[t] = newMemoryTable()
	}
	return s
}

// A memoryStore keeps its tables in trees that are copied on write: a
// transaction changes clones, which take the place of the trees if it commits.
// A tree in tables is never changed, so that readers need no lock.
type memoryStore struct {
	writer chan struct{} // holds a token while a transaction writes

	mu     sync.Mutex // guards all following fields
	tables map[Table]*memoryTable
	closed bool
}

type (
	memoryTable = btree.BTreeG[memoryItem]
	memoryItem  struct{ key, value []byte }
)

// memoryDegree is the width of the trees; 16 is within a few percent of the best
// for keys of this size.
const memoryDegree = 16

func newMemoryTable() *memoryTable {
	return btree.NewG(memoryDegree, func(a, b memoryItem) bool { return bytes.Compare(a.key, b.key) < 0 })
}

// Transact implements Store.
func (s *memoryStore) Transact(ctx context.Context, access Access, fn func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if access == ReadWrite {
		select {
		case s.writer <- struct{}{}:
			defer func() { <-s.writer }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	tx, err := s.begin(access)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil || access == ReadOnly {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables = tx.tables
	return nil
}

// begin returns a transaction on the tables as they are.
func (s *memoryStore) begin(access Access) (*memoryTx, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	tx := &memoryTx{access: access, tables: s.tables}
	if access == ReadWrite {
		tx.tables, tx.changed = maps.Clone(s.tables), map[Table]bool{}
	}
	return tx, nil
}

// Close implements Store.
func (s *memoryStore) Close() error {
	s.writer <- struct{}{}
	defer func() { <-s.writer }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// A memoryTx is a transaction of a memoryStore.
type memoryTx struct {
	access  Access
	tables  map[Table]*memoryTable
	changed map[Table]bool // those of tables that are clones
}

// table returns the clone of a table.
func (tx *memoryTx) table(t Table) *memoryTable {
	if !tx.changed[t] {
		tx.changed[t] = true
		tx.tables[t] = tx.tables[t].Clone()
	}
	return tx.tables[t]
}

var errReadOnly = errors.New("transaction is read-only")

// Get implements Tx.
func (tx *memoryTx) Get(t Table, key []byte) ([]byte, error) {
	item, _ := tx.tables[t].Get(memoryItem{key: key})
	return item.value, nil
}

// Put implements Tx.
func (tx *memoryTx) Put(t Table, key, value []byte) error {
	if tx.access == ReadOnly {
		return errReadOnly
	}
	tx.table(t).ReplaceOrInsert(memoryItem{bytes.Clone(key), append([]byte{}, value...)})
	return nil
}

// Delete implements Tx.
func (tx *memoryTx) Delete(t Table, key []byte) error {
	if tx.access == ReadOnly {
		return errReadOnly
	}
	tx.table(t).Delete(memoryItem{key: key})
	return nil
}

// Scan implements Tx.
func (tx *memoryTx) Scan(t Table, prefix []byte, visit func(key, value []byte) bool) error {
	tx.tables[t].AscendGreaterOrEqual(memoryItem{key: prefix}, func(i memoryItem) bool {
		return bytes.HasPrefix(i.key, prefix) && visit(i.key, i.value)
	})
	return nil
}
