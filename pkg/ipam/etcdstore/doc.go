// Package etcdstore keeps the leases of package ipam in etcd, for the machines of
// a fleet that share networks.
//
// # Transactions
//
// A transaction reads a snapshot: all it reads is as it was at one revision of
// etcd. It is written by one etcd transaction, on condition that no network that
// it looked at has changed since; otherwise it runs again on what is there now.
// Transactions that wait for one another in one process are written together.
// When the answer to a write is lost, as when the leader dies, the store finds
// out what became of it before it goes on.
//
// # Machines
//
// A store that is opened as a machine (Config.Machine) keeps it alive in etcd,
// and writes only while it is. A machine that gave no sign of life for
// Config.TTL counts as dead; Config.Grace later its leases are released by
// another machine, and its addresses are remembered under their sticky keys as
// after any release. What ends the leases is etcd's lease of the machine, not
// etcd's leases on the records, which would tear them from their indexes.
//
// # When etcd is away
//
// One member of the cluster is asked, until it does not answer within a part of
// Config.Timeout; then the next one is.
//
// Open does not need etcd. Every wait is bounded (Config.Timeout) and ends in
// ipam.ErrUnavailable; nothing is half made, since each change is one etcd
// transaction. The error says where it is not known whether the change was made:
// then it was made as a whole or not, and the same request again is answered
// from what is there. All goes on by itself when etcd is back.
//
// etcd 3.4 or later, with its default limits of a transaction and a request. Let
// it compact its history (--auto-compaction-mode=periodic
// --auto-compaction-retention=1h): the store never does, since etcd may have
// other users.
package etcdstore
