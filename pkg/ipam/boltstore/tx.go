package boltstore

import (
	"bytes"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// A tx is an ipam.Tx on the buckets of one bbolt transaction.
type tx struct {
	root    *bolt.Bucket
	buckets map[ipam.Table]*bolt.Bucket
}

// bucket returns the bucket of a table. open made all of them.
func (t tx) bucket(table ipam.Table) (*bolt.Bucket, error) {
	if b := t.buckets[table]; b != nil {
		return b, nil
	}
	b := t.root.Bucket([]byte(table))
	if b == nil {
		return nil, fmt.Errorf("table %s: no such bucket: %w", table, ipam.ErrCorrupt)
	}
	t.buckets[table] = b
	return b, nil
}

// Get implements ipam.Tx.
func (t tx) Get(table ipam.Table, key []byte) ([]byte, error) {
	b, err := t.bucket(table)
	if err != nil {
		return nil, err
	}
	return b.Get(key), nil
}

// Put implements ipam.Tx. bbolt copies the key but keeps the value until the
// commit, so it gets a copy.
func (t tx) Put(table ipam.Table, key, value []byte) error {
	b, err := t.bucket(table)
	if err != nil {
		return err
	}
	return b.Put(key, bytes.Clone(value))
}

// Delete implements ipam.Tx.
func (t tx) Delete(table ipam.Table, key []byte) error {
	b, err := t.bucket(table)
	if err != nil {
		return err
	}
	return b.Delete(key)
}

// Scan implements ipam.Tx.
func (t tx) Scan(table ipam.Table, prefix []byte, visit func(key, value []byte) bool) error {
	b, err := t.bucket(table)
	if err != nil {
		return err
	}
	c := b.Cursor()
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if !visit(k, v) {
			break
		}
	}
	return nil
}
