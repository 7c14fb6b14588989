package ipam

import "context"

// A Store keeps records in tables, ordered by key, and changes them in
// transactions. Its methods may be called from several goroutines.
type Store interface {
	// Transact runs fn in a transaction, which it commits if fn returns nil and
	// drops otherwise, fn's error returned as it is. When it returns nil, the
	// changes are as durable as the store is. Transactions that write come one
	// after the other; each sees all changes of those before it. fn may be run
	// more than once, with nothing left of the earlier runs. ctx bounds the wait
	// for the transaction to begin; one that commits is not interrupted.
	// After Close it returns an error that wraps ErrClosed.
	Transact(ctx context.Context, access Access, fn func(Tx) error) error
	// Close ends the store, after the transactions under way. It is idempotent.
	Close() error
}

// Access says what a transaction may do.
type Access bool

// The kinds of access.
const (
	ReadOnly  Access = false // Put and Delete fail
	ReadWrite Access = true
)

// A Tx is a transaction of a Store, used by one goroutine until its function
// returns. It keeps no slice that it is given; slices that it returns are only
// read, and only until the function returns.
type Tx interface {
	// Get returns the value of a key, nil if there is none.
	Get(t Table, key []byte) ([]byte, error)
	// Put sets the value of a key.
	Put(t Table, key, value []byte) error
	// Delete deletes a key. It is no error when there is none.
	Delete(t Table, key []byte) error
	// Scan calls visit for the keys that begin with prefix, in byte order, until
	// visit returns false. visit does not change the table.
	Scan(t Table, prefix []byte, visit func(key, value []byte) bool) error
}

// A Table is a set of records of one kind. Text parts of keys end with a NUL,
// numbers are big-endian, addresses have 4 or 16 bytes; values are JSON.
type Table string

const (
	// TableLeases holds, by network, container ID and ifname, the Lease.
	TableLeases Table = "leases"
	// TableAddrs holds, by network and address, who has it, or when it was released.
	TableAddrs Table = "addrs"
	// TableReleased holds, by network, pool and number of the release, the address.
	TableReleased Table = "released"
	// TableSticky holds, by network, pool and sticky key, the address that was last
	// released under it, and the number of that release.
	TableSticky Table = "sticky"
	// TableMemory holds, by network, pool and number of the release, the sticky key:
	// so the one that was not used for the longest is found.
	TableMemory Table = "memory"
	// TablePools holds, by network and pool, its cursor and counts.
	TablePools Table = "pools"
)

// Tables returns all tables.
func Tables() []Table {
	return []Table{TableLeases, TableAddrs, TableReleased, TableSticky, TableMemory, TablePools}
}
