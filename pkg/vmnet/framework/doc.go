// Package framework is the driver "vmnet": Apple's vmnet.framework, called
// without cgo, so that the whole program cross-compiles and needs no C compiler.
//
// [New] resolves every symbol of the framework, of libxpc, libdispatch and the
// blocks runtime by name and returns a [vmnet.Driver]. A symbol that a macOS does
// not have yet makes the feature that needs it unsupported ([UnsupportedError]);
// one that every macOS has is an error of New that names it. [Symbols] lists all.
// On Linux, where tests run, the environment variable VMNET_FRAMEWORK_LIBRARY
// names a library with the same ABI, and every symbol is looked up in that one.
//
// # Two ways to the framework
//
// From macOS 26 on, a network is an object of its own (a "logical network"): its
// DHCP server is switched off, its subnet is read back, and the devices are
// started on it. Before, or when a configuration needs what such networks cannot
// do (bridged mode, a gateway that is not the first address, a range for the
// system's DHCP server), every device is started with a description of the
// network, and the system puts those with the same description on one bridge.
//
// # Addresses
//
// The shim answers DHCP on the frame path, so the system's own DHCP server must
// not have a say. Where it cannot be switched off its range is squeezed to one
// address, the one after the gateway: leases are the usable addresses of the
// subnet without the gateway and without that one (see [vmnet.NetworkInfo],
// RangeEnd: the addresses after Gateway up to RangeEnd are the system's).
//
// A network that asks for no subnet gets one from the system when it is logical,
// else the first free /24 from 192.168.64.0: the system would put all such
// networks of a mode on one bridge. A shared network without addresses (Layer2)
// still has the system's gateway and DHCP server before macOS 26.
//
// # IPv6
//
// A network with Subnet6 has the system's NAT66, or in host mode the host's address,
// in that prefix. Router advertisements are the shim's to send: those of a logical
// network are switched off, and those of other shared networks are taken out of
// what ReadBatch returns and counted. Router tells who the router is.
//
// # Threads and memory
//
// The framework calls back on threads of libdispatch. The handler that
// SetEventHandler was given runs on such a thread, on a serial queue that belongs
// to the device, and is expected to move frames there and then: waking a
// goroutine instead costs two thirds of the round trips.
//
// Blocks are passed as stack-kind literals that C copies; what they captured is an
// integer, looked up when they are called, so that a late call finds nothing and
// does nothing. No Go pointer outlives a call, but those of a device's own batch
// arrays, which are pinned until it is closed.
//
// A call into the framework may never return (macOS 27.0 is known for it). Each
// one that can runs on a goroutine of its own with a time limit; when the limit
// passes, the goroutine is abandoned, counted in [Stats], and the caller gets a
// [HungError]. What such a call brings when it does return is stopped and freed.
//
// Nothing in this package has been seen running on a Mac yet. The names, values
// and layouts come from Apple's headers and documentation and from programs that
// are known to work; docs/macos.md names them.
package framework
