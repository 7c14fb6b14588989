// Package server is the shim: it keeps networks and attachments, serves the API
// of package shim, and brings everything back after a restart.
//
// # Locks
//
// Three kinds, taken in this order and never in another:
//
//  1. an attachment's key (keyLocks): held for the whole of an attach, detach
//     or frames call, so that calls for one attachment follow each other and
//     calls for two never wait for each other;
//  2. a network (network.lock): held while the driver opens or closes it;
//  3. Server.mu: guards the maps and counters; held for moments, never while
//     calling a driver, the allocator or the file system.
//
// # An attachment's life
//
//	PUT ──► validate ─► network ─► lease* ─► interface ─► relay ─► sockets ─► state file*
//	                                                                            │
//	        broken ◄── cannot be brought back ── start of the shim ◄────────── live
//	          │                                                                 │
//	          └──────── DELETE: every step undone, the last one first ──────────┘
//
// Every step returns its undo. Those with a star are durable: they stay when the
// shim ends or dies, and the next shim brings the attachment back from them. The
// state file is written last and removed first: an attachment is what has a
// state file, and a lease without one is released when the shim starts, or, where the
// lease store was away when it should have been released, when that is back.
package server
