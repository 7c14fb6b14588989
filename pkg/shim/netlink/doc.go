// Package netlink has the names of [github.com/vishvananda/netlink], and works on
// macOS too. A program changes its import path and nothing else.
//
// Types are aliases of upstream's, so that values pass both ways. On Linux every
// function forwards to upstream. On macOS those for links, addresses, routes,
// neighbours and subscriptions are backed by the routing socket, sysctl and
// ioctls, without cgo. Every other function returns an error that wraps
// [ErrNotImplemented] and [errors.ErrUnsupported]. docs/netlink.md lists each.
//
// Off Linux, types that upstream has on Linux alone, or leaves empty elsewhere
// (Handle, XfrmPolicy, …), are defined here with the same exported fields. Their
// methods that would need a kernel return zero values, or ErrNotImplemented.
// Constants that upstream lacks there have the values of Linux, but for FAMILY_V4
// and FAMILY_V6, which are the system's own address families. Functions that only
// compute, as those for tc, do so everywhere; what stays on Linux alone, since it
// makes messages of its kernel, the page lists too.
//
// [Vmnet] is a link type of this package, on every system: [LinkAdd] asks the
// shim for an attachment, [LinkDel] ends it.
package netlink

//go:generate go run ./internal/gen
