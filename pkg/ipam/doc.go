// Package ipam gives out IP addresses: which attachment of a network has which
// address, kept in a store.
//
// The decision is [Choose], a pure function of a [Pool], a [View] of what is
// known of its addresses, and a [Request]. [Allocator] runs it inside one
// transaction of a [Store]. [NewMemoryStore] is a store without a file; package
// boltstore keeps one in a bbolt file.
//
// # Which address is given
//
// In this order:
//
//  1. An address that the request names ([Request].Want), or an error that says
//     who has it or why the pool has none such.
//  2. The address that was last released under the request's sticky key (by
//     default container ID and interface name), if nobody has it now. Others may
//     have had it meanwhile.
//  3. The lowest address that was never used.
//  4. The address that was released longest ago, by this pool, or, where that has
//     none whose quarantine is over, by another pool of the network that has the
//     address too.
//
// So an address goes to somebody else as late as it can. [Request].Quarantine is
// the least time for that. Where nothing else is free, an address in quarantine is
// given all the same, and the lease says so ([Lease].Early): an allocation
// succeeds while an address is free. With [Request].WholeQuarantine it is refused
// until the first quarantine is over.
//
// Never given are the addresses of the network and of broadcast, the gateway,
// the last usable address of a subnet (where guests reach the host's loopback,
// where they may) and what [Pool].Exclude holds. An address is unique within
// its network, whatever the pool.
//
// # Cost and bounds
//
// A pool is never walked: a cursor divides the used from the never used, and
// released addresses lie in an index by the order of their release, so that an
// allocation takes time logarithmic in the number of known addresses, in a /24
// as in a /64. The cursor passes over an address once; only after a change of
// the pool's layout it begins again, once. Only where a pool has nothing left of
// its own are the released addresses of the network's other pools looked through.
//
// The store holds one record for each address that is held and for at most
// [DefaultMaxReleased] released ones of each pool, and two for each of at most as
// many sticky keys (about 200 bytes each). What was released before those is
// forgotten: it counts as released before all others. Only a pool that is larger
// than the limit can forget, and it finds such addresses again by taking its
// cursor round once more. Of sticky keys the one is forgotten that was not used
// for the longest.
//
// The same requests at the same times give the same addresses. The clock says
// only whether a quarantine is over; what was released first is known by order.
package ipam
