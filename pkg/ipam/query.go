package ipam

import (
	"context"
	"fmt"
	"math"
)

// Lookup returns the lease of the attachment, or ErrNotFound.
func (a *Allocator) Lookup(ctx context.Context, key Key) (Lease, error) {
	lease, err := a.lookup(ctx, key)
	return lease, opError("lookup", key.String(), err)
}

func (a *Allocator) lookup(ctx context.Context, key Key) (lease Lease, err error) {
	err = a.store.Transact(ctx, ReadOnly, func(tx Tx) error {
		lease = Lease{}
		found, err := getJSON(tx, TableLeases, key.encode(), &lease)
		if err == nil && !found {
			err = ErrNotFound
		}
		return err
	})
	if err != nil {
		return Lease{}, err
	}
	return lease, nil
}

// Ready returns nil if the store answers.
func (a *Allocator) Ready(ctx context.Context) error {
	err := a.store.Transact(ctx, ReadOnly, func(tx Tx) error {
		_, err := tx.Get(TablePools, textKey("", ""))
		return err
	})
	return opError("ready", "", err)
}

// List returns the leases of a network, or of all networks when network is "",
// in the order of their keys.
func (a *Allocator) List(ctx context.Context, network string) ([]Lease, error) {
	var prefix []byte
	if network != "" {
		prefix = textKey(network)
	}
	var leases []Lease
	err := a.store.Transact(ctx, ReadOnly, func(tx Tx) error {
		leases = nil
		var bad error
		err := tx.Scan(TableLeases, prefix, func(key, value []byte) bool {
			var l Lease
			bad = decode(TableLeases, key, value, &l)
			leases = append(leases, l)
			return bad == nil
		})
		if err == nil {
			err = bad
		}
		return err
	})
	if err != nil {
		return nil, opError("list", network, err)
	}
	return leases, nil
}

// Usage counts the addresses of a pool.
type Usage struct {
	Held     int // given to attachments
	Released int // free, and remembered
	Free     int // that can be given, at most 1<<31-1
}

// Usage returns how many addresses of the pool are in use.
func (a *Allocator) Usage(ctx context.Context, p Pool) (Usage, error) {
	u, err := a.usage(ctx, p)
	return u, opError("usage", p.Network, err)
}

func (a *Allocator) usage(ctx context.Context, p Pool) (Usage, error) {
	l, err := p.layout()
	if err != nil {
		return Usage{}, err
	}
	var rec poolRecord
	err = a.store.Transact(ctx, ReadOnly, func(tx Tx) error {
		rec = poolRecord{}
		_, err := getJSON(tx, TablePools, p.key().encode(), &rec)
		return err
	})
	if err != nil {
		return Usage{}, err
	}
	free := int64(min(l.size(), math.MaxInt32+uint64(rec.Held))) - int64(rec.Held)
	return Usage{Held: rec.Held, Released: rec.Released, Free: int(max(free, 0))}, nil
}

// Forget deletes everything that is remembered of a network: released addresses,
// sticky keys, cursors. It is refused while an attachment holds a lease.
func (a *Allocator) Forget(ctx context.Context, network string) error {
	err := a.store.Transact(ctx, ReadWrite, func(tx Tx) error {
		prefix := textKey(network)
		if keys, err := keysOf(tx, TableLeases, prefix); err != nil {
			return err
		} else if len(keys) > 0 {
			return fmt.Errorf("%d leases are held: %w", len(keys), ErrConflict)
		}
		for _, t := range Tables() {
			keys, err := keysOf(tx, t, prefix)
			if err != nil {
				return err
			}
			for _, k := range keys {
				if err := tx.Delete(t, k); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return opError("forget", network, err)
}

// keysOf returns the keys of a table that begin with prefix.
func keysOf(tx Tx, t Table, prefix []byte) (keys [][]byte, err error) {
	err = tx.Scan(t, prefix, func(key, _ []byte) bool {
		keys = append(keys, append([]byte(nil), key...))
		return true
	})
	return keys, err
}
