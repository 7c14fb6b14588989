package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// DefaultMaxReleased is how many released addresses of a pool are remembered
// unless Config says otherwise: all of an IPv4 /16.
const DefaultMaxReleased = 1 << 16

// Config is how an Allocator works. The zero value is good.
type Config struct {
	// Now tells the time for Lease.Created. Nil: time.Now.
	Now func() time.Time
	// MaxReleased bounds the released addresses that are remembered for each
	// pool, and the sticky keys. Zero: DefaultMaxReleased.
	MaxReleased int
	// Machine is a name of this machine that no other user of the store has.
	// A lease belongs to the machine that made it: to another, Allocate for the
	// same key is a ConflictError, and Release leaves the lease alone. Empty
	// where one machine has the store for itself.
	Machine string
}

// An Allocator gives and takes addresses, one transaction of its store each. Its
// methods may be called from several goroutines, and, where the store allows it,
// from several processes.
type Allocator struct {
	store       Store
	now         func() time.Time
	maxReleased int
	machine     string
}

// New returns an allocator on the store, which it owns: Close closes it.
func New(store Store, cfg Config) *Allocator {
	a := &Allocator{store: store, now: cfg.Now, maxReleased: cfg.MaxReleased, machine: cfg.Machine}
	if a.now == nil {
		a.now = time.Now
	}
	if a.maxReleased <= 0 {
		a.maxReleased = DefaultMaxReleased
	}
	return a
}

// Close closes the store. It is idempotent.
func (a *Allocator) Close() error { return a.store.Close() }

// Owns reports whether the lease belongs to the allocator's machine.
func (a *Allocator) Owns(l Lease) bool { return l.Machine == a.machine }

// Allocate gives the attachment req.Key an address of each pool, all or none. An
// attachment that holds a lease which fits the request gets the same lease
// again, nothing is written; one that does not fit is a ConflictError. Other
// errors are TakenError, OutsideError, ExhaustedError, what wraps ErrInvalid, and
// those of the store and of ctx.
//
// After the loss of a store, Allocate with the known addresses as Want makes the
// leases again.
func (a *Allocator) Allocate(ctx context.Context, req Request) (Lease, error) {
	lease, err := a.allocate(ctx, req)
	return lease, opError("allocate", req.String(), err)
}

func (a *Allocator) allocate(ctx context.Context, req Request) (Lease, error) {
	if err := req.check(); err != nil {
		return Lease{}, err
	}
	if err := req.checkWant(); err != nil {
		return Lease{}, err
	}
	if lease, err := a.lookup(ctx, req.Key); !errors.Is(err, ErrNotFound) {
		if err == nil {
			err = a.fits(lease, req)
		}
		return lease, err
	}
	var lease Lease
	var refusal error // committed, so that a cursor is never walked twice
	err := a.store.Transact(ctx, ReadWrite, func(tx Tx) (err error) {
		lease, refusal = Lease{}, nil
		found, err := getJSON(tx, TableLeases, req.encode(), &lease)
		if err != nil {
			return err
		}
		if found {
			return a.fits(lease, req)
		}
		lease, refusal, err = a.writer(tx).allocate(req)
		return err
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return Lease{}, err
	}
	return lease, nil
}

// fits returns a ConflictError if the lease is not what req asks for.
func (a *Allocator) fits(l Lease, req Request) error {
	if !a.Owns(l) {
		return &ConflictError{Have: l, Reason: fmt.Sprintf("is on machine %q", l.Machine)}
	}
	if len(l.Addrs) != len(req.Pools) {
		return &ConflictError{Have: l, Reason: fmt.Sprintf("want an address of each of %d pools", len(req.Pools))}
	}
	for i, p := range req.Pools {
		lay, err := p.layout()
		if err != nil {
			return err
		}
		if got, ok := lay.prefix(l.Addrs[i].Addr()); !ok || got != l.Addrs[i] {
			return &ConflictError{Have: l, Reason: fmt.Sprintf("%s is not of pool %s", l.Addrs[i], p)}
		}
	}
	for _, w := range req.Want {
		if !slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr() == w }) {
			return &ConflictError{Have: l, Reason: "want " + w.String()}
		}
	}
	return nil
}
