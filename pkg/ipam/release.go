package ipam

import (
	"context"
	"errors"
	"fmt"
)

// Release ends the lease of the attachment; its addresses are free again, and
// remembered. It is no error when there is none, or when it is another machine's.
func (a *Allocator) Release(ctx context.Context, key Key) error {
	return opError("release", key.String(), a.release(ctx, key))
}

// ReleaseOf is Release for a lease that belongs to another machine, for operators
// who know that the machine does not use it any more.
func (a *Allocator) ReleaseOf(ctx context.Context, machine string, key Key) error {
	other := *a
	other.machine = machine
	return other.Release(ctx, key)
}

func (a *Allocator) release(ctx context.Context, key Key) error {
	if err := key.check(); err != nil {
		return err
	}
	// DEL of what was never added is common; it shall cost no write.
	if l, err := a.lookup(ctx, key); errors.Is(err, ErrNotFound) || err == nil && !a.Owns(l) {
		return nil
	} else if err != nil {
		return err
	}
	return a.store.Transact(ctx, ReadWrite, func(tx Tx) error {
		return a.writer(tx).release(key)
	})
}

// ReleaseContainer ends all leases of a container in a network, of whatever
// interface, in one transaction, and returns whose they were. Those of another
// machine stay. It is no error when there is none.
func (a *Allocator) ReleaseContainer(ctx context.Context, network, containerID string) ([]Key, error) {
	released, err := a.releaseContainer(ctx, network, containerID)
	return released, opError("release", network+"/"+containerID, err)
}

func (a *Allocator) releaseContainer(ctx context.Context, network, containerID string) (released []Key, err error) {
	if err := (Key{network, containerID, "any"}).check(); err != nil {
		return nil, err
	}
	err = a.store.Transact(ctx, ReadWrite, func(tx Tx) error {
		released = nil
		prefix := textKey(network, containerID)
		keys, err := keysOf(tx, TableLeases, prefix)
		if err != nil {
			return err
		}
		w := a.writer(tx)
		for _, k := range keys {
			key := Key{network, containerID, string(k[len(prefix) : len(k)-1])}
			var l Lease
			if _, err := getJSON(tx, TableLeases, k, &l); err != nil {
				return err
			}
			if !a.Owns(l) {
				continue
			}
			if err := w.release(key); err != nil {
				return fmt.Errorf("%s: %w", key.IfName, err)
			}
			released = append(released, key)
		}
		return nil
	})
	return released, err
}
