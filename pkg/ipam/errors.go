package ipam

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"
)

// Conditions that callers branch on, with errors.Is.
var (
	// ErrExhausted says that a pool has no free address; see ExhaustedError.
	ErrExhausted = errors.New("no address is free")
	// ErrTaken says that somebody has the wanted address; see TakenError.
	ErrTaken = errors.New("address is taken")
	// ErrOutside says that no pool gives the wanted address; see OutsideError.
	ErrOutside = errors.New("address is not one of the pool's")
	// ErrConflict says that the attachment holds a lease that differs from what
	// is asked; see ConflictError.
	ErrConflict = errors.New("attachment holds another lease")
	// ErrNotFound says that there is no such lease. It matches fs.ErrNotExist.
	ErrNotFound = fmt.Errorf("no such lease: %w", fs.ErrNotExist)
	// ErrInvalid says that a pool, a key or a request cannot be. The text names
	// the part, its value, and what would be right.
	ErrInvalid = errors.New("invalid")
	// ErrCorrupt says that a record of the store cannot be, or that two records
	// contradict each other.
	ErrCorrupt = errors.New("store is damaged")
	// ErrClosed says that the store was closed. It matches fs.ErrClosed.
	ErrClosed = fmt.Errorf("store: %w", fs.ErrClosed)
	// ErrUnavailable says that the store cannot be reached, or not in time. What
	// was asked may be tried again.
	ErrUnavailable = errors.New("store is not available")
)

// An OpError says which operation on which object did not succeed, and why.
// Every method of Allocator returns its errors as one.
type OpError struct {
	Op     string // "allocate", "release", "lookup", "list", "usage", "forget", "ready"
	Object string // a Key or a network as text; "" for all networks
	Err    error
}

// Error implements error.
func (e *OpError) Error() string {
	if e.Object == "" {
		return "ipam: " + e.Op + ": " + e.Err.Error()
	}
	return "ipam: " + e.Op + " " + e.Object + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// opError wraps err; nil stays nil.
func opError(op, object string, err error) error {
	if err == nil {
		return nil
	}
	return &OpError{Op: op, Object: object, Err: err}
}

// A TakenError names the holder of a wanted address. It matches ErrTaken.
type TakenError struct {
	Addr netip.Addr
	By   Key
}

// Error implements error.
func (e *TakenError) Error() string {
	return fmt.Sprintf("address %s: held by %s", e.Addr, e.By)
}

// Is matches ErrTaken.
func (e *TakenError) Is(target error) bool { return target == ErrTaken }

// An OutsideError names a wanted address and the pools that do not give it. It
// matches ErrOutside.
type OutsideError struct {
	Addr   netip.Addr
	Pools  []Pool
	Reason string // "is the gateway", …; empty when the address is in no subnet of Pools
}

// Error implements error.
func (e *OutsideError) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("address %s: %s; want one of %s", e.Addr, e.Reason, poolList(e.Pools))
	}
	return fmt.Sprintf("address %s: not in %s", e.Addr, poolList(e.Pools))
}

// Is matches ErrOutside.
func (e *OutsideError) Is(target error) bool { return target == ErrOutside }

// An ExhaustedError names the pool that has no free address. It matches
// ErrExhausted.
type ExhaustedError struct {
	Pool Pool
	Size uint64 // how many addresses the pool has
	// Next is the address whose quarantine is over first, in Wait. Zero where
	// none is in quarantine.
	Next netip.Addr
	Wait time.Duration
}

// Error implements error.
func (e *ExhaustedError) Error() string {
	if e.Next.IsValid() {
		return fmt.Sprintf("pool %s: all of its %d addresses are held or in quarantine; %s comes free in %s",
			e.Pool, e.Size, e.Next, e.Wait.Round(time.Second))
	}
	return fmt.Sprintf("pool %s: all of its %d addresses are held", e.Pool, e.Size)
}

// Is matches ErrExhausted.
func (e *ExhaustedError) Is(target error) bool { return target == ErrExhausted }

// A ConflictError names the lease that an attachment holds already. It matches
// ErrConflict.
type ConflictError struct {
	Have   Lease
	Reason string // what the request asks that the lease does not fit
}

// Error implements error.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("holds %v already: %s", e.Have.Addrs, e.Reason)
}

// Is matches ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }
