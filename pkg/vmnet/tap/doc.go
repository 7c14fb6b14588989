// Package tap is the driver of Linux: a bridge of the kernel for each network, a
// tap for each interface, nftables for what lies between them and the outside.
//
//	guest ── tap ──┐                       host: addresses on the bridge
//	guest ── tap ──┤ bridge ── gateway ──  shared: nftables translates addresses
//	netns ── veth ─┘                       bridged: an uplink is a port too
//
// Frames of a device pass this process (ReadBatch, WriteBatch, for the relay), or
// the guest has the tap itself (vmnet.TapHolder) or a link in its network
// namespace (vmnet.Plugger). Then the kernel does what the relay would:
// vmnet.Ruler.
//
// # What is made, and how it goes away
//
// Everything carries a mark that names its owner, the shim: links have
// "vmnet:<owner>:<network>" as their alias (and a group made of <owner> until they
// have it), tables of nftables "vmnet-<owner>-"
// at the start of their name. Names of links are hashes, 13 bytes long. A device
// takes its things away with Close, a network with the last. What a process left
// that was killed goes with Sweep, or is taken up by the network of the same
// name. Nothing without the mark is ever changed, but for the uplink of a bridged
// network, which becomes a port while the network is open, and two settings of the
// system that a shared network needs: forwarding of IPv4 and of IPv6, which are
// switched on if they are off, and stay on, since others may rely on them by then.
//
// # Bridged
//
// An uplink that is a bridge gets the taps as its ports. One with addresses keeps
// them: its guests are macvtap interfaces, which reach the LAN but not this host.
// Any other is made a port of the network's bridge.
//
// The process needs CAP_NET_ADMIN, and for macvtap CAP_MKNOD where /dev has no
// nodes of its own making.
package tap
