package vmnet

import (
	"context"
	"net"
	"net/netip"
	"os"

	"github.com/google/uuid"
)

// MTU limits. A network's MTU is the largest IP packet in bytes; a frame is
// HeaderLen bytes longer.
const (
	HeaderLen  = 14    // bytes of an Ethernet II header without VLAN tag
	DefaultMTU = 1500  // bytes
	MinMTU     = 1280  // bytes; IPv6 needs it (RFC 8200, section 5)
	MaxMTU     = 65520 // bytes; the largest that fits 64 KiB with all headers
)

// A Driver opens networks. The drivers are packages below this one; a program
// chooses by importing, nothing registers itself.
type Driver interface {
	// Open makes a network as cfg says, or returns an error and leaves nothing
	// behind. The error wraps errors.ErrUnsupported for a mode or option that
	// the driver does not have, ErrPermission for a missing privilege, and
	// InvalidArgument for a value that cannot be. ctx limits the opening only.
	Open(ctx context.Context, cfg NetworkConfig) (Network, error)
}

// A Network is what the guests of one CNI network share: a switch, a subnet, a
// gateway. Its methods may be called from several goroutines.
type Network interface {
	// Info returns what was granted: cfg of Open with every default filled in.
	Info() NetworkInfo
	// Start starts an interface on the network. ctx limits the start only. The
	// caller closes the device.
	Start(ctx context.Context, cfg Config) (Device, error)
	// Close stops what is left of the network, its interfaces included, and
	// waits until it is gone. It is idempotent.
	Close() error
}

// A Device is an interface as a driver implements it; programs use it through
// an Interface. Its methods may be called from several goroutines at once,
// ReadBatch and WriteBatch each from one at a time.
type Device interface {
	// Info returns what the interface was given. It never changes.
	Info() Info
	// ReadBatch moves waiting frames into bufs, without blocking. bufs[i] has at
	// least Info().MaxPacketSize bytes, sizes is at least as long as bufs, and
	// frame i is bufs[i][:sizes[i]]. It returns how many frames it moved, at
	// least 1, or ErrNoPackets. Longer batches than Info().ReadBatch are cut.
	ReadBatch(bufs [][]byte, sizes []int) (n int, err error)
	// WriteBatch sends frames in order and returns how many were taken. When n
	// < len(frames), err says why frame n was not: PacketTooBig, InvalidArgument
	// (shorter than HeaderLen), BufferExhausted (try again later, or drop).
	// It does not keep the slices. Batches longer than Info().WriteBatch are cut
	// (n < len(frames) with a nil error).
	WriteBatch(frames [][]byte) (n int, err error)
	// SetEventHandler has fn called when frames may be waiting: once if some are
	// already, and again for any frame that comes after a call of fn began to
	// return. Calls never overlap. fn may read, write to other devices and block;
	// that delays this device's next call and nothing else. nil ends the calls
	// and waits for a running one. fn must not call SetEventHandler or Close.
	SetEventHandler(fn func()) error
	// Close stops the interface, ends the calls of the handler, waits for a
	// running one, and makes every other method return ErrClosed. It is
	// idempotent.
	Close() error
}

// NetworkConfig says what network to open. The zero value is a shared network
// whose subnet the driver chooses.
type NetworkConfig struct {
	// Name names the network in messages and, where the system lets us, in the
	// system. Two networks of one driver have different names.
	Name string
	Mode Mode
	// Subnet is the IPv4 subnet, masked. Zero: the driver chooses where it can;
	// netstack needs one unless Subnet6 is set or Layer2 is true.
	Subnet netip.Prefix
	// Gateway is the gateway's (host's) IPv4 address in Subnet. Zero: the first
	// usable address.
	Gateway netip.Addr
	// RangeEnd is the last address that a DHCP server of the system, where there
	// is one, may give to guests. Zero: the driver keeps that server out of the
	// way as far as it can.
	RangeEnd netip.Addr
	// Subnet6 is the IPv6 /64 of the network, masked. Zero: none. The gateway has
	// its first usable address.
	Subnet6 netip.Prefix
	// Uplink is the physical interface of a bridged network.
	Uplink string
	// MTU in bytes, MinMTU to MaxMTU. Zero: DefaultMTU.
	MTU int
	// Isolated keeps the guests of the network from each other.
	Isolated bool
	// Offload lets frames carry segments of up to 64 KiB with checksums left to
	// the receiver, where driver and guest agree.
	Offload bool
	// Layer2 leaves IP to the guests: no gateway, no addresses.
	Layer2 bool
	// Resolvers answer the DNS queries that the gateway forwards, for drivers
	// whose gateway does. Empty: the host's.
	Resolvers []netip.AddrPort
	// Domain is the DNS domain in which the gateway knows its own names
	// ("gateway.<domain>"). Empty: DefaultDomain.
	Domain string
	// HostLoopback makes the host's loopback addresses reachable for guests at
	// the last usable address of Subnet and of Subnet6, for drivers whose gateway is a program.
	HostLoopback bool
}

// NetworkInfo is what a network was granted.
type NetworkInfo struct {
	NetworkConfig
	// HostLoopbackAddr and HostLoopbackAddr6 are where guests reach the host's
	// 127.0.0.1 and ::1, if they do.
	HostLoopbackAddr, HostLoopbackAddr6 netip.Addr
	// HostInterfaces names what the host sees of the network (a bridge), where
	// the system tells.
	HostInterfaces []string
}

// Config says what interface to start.
type Config struct {
	// UUID identifies the interface: the same UUID gets the same MAC. Zero: a
	// new random one.
	UUID uuid.UUID
	// MAC is the guest's address, unicast. Nil: made from UUID.
	MAC net.HardwareAddr
	// Limited says that the interface's user drops frames for the guest above a rate,
	// for drivers that end connections themselves: they send carefully then.
	Limited bool
	// Files are what the interface's FileHolder told before, by the same names,
	// when it is started again by a process that took over from another. The
	// device owns them all, also when Start fails; it closes those that it has no
	// use for.
	Files map[string]*os.File
	// VnetHeader says that the interface's user takes frames with a virtio-net header
	// before them, where the driver has it and the network has Offload: Info.VnetHeader
	// tells. Others ignore it.
	VnetHeader bool
	// Tap says that the guest is to have the tap itself (see TapHolder). The frames
	// of such a device never pass ReadBatch and WriteBatch. Drivers whose devices
	// are no TapHolder ignore it.
	Tap bool
}

// Info is what an interface was given.
type Info struct {
	UUID uuid.UUID
	// MAC is the address that the guest is expected to use.
	MAC net.HardwareAddr
	// MTU is the largest IP packet in bytes.
	MTU int
	// MaxPacketSize is the largest frame in bytes that WriteBatch takes and the
	// smallest buffer that ReadBatch takes.
	MaxPacketSize int
	// VnetHeader is how many bytes of every frame that ReadBatch and WriteBatch move
	// are a virtio-net header (virtio 1.2, section 5.1.6), before the Ethernet header:
	// 0, or 12 if Config.VnetHeader was set. MaxPacketSize counts them.
	VnetHeader int
	// ReadBatch and WriteBatch are the longest batches worth passing, in frames.
	ReadBatch, WriteBatch int
	// Subnet, Gateway and Subnet6 are those of the network; zero for Layer2.
	Subnet  netip.Prefix
	Gateway netip.Addr
	Subnet6 netip.Prefix
	// HostInterfaces names what the host sees of this interface (a tap), where
	// the system tells.
	HostInterfaces []string
}

// A FileHolder is a device with descriptors that can outlive this process, for
// the process that starts the interface again: a tap, listening sockets. It is an
// ability that the devices of some drivers have.
type FileHolder interface {
	// Files returns the descriptors by names of at most 64 bytes [a-zA-Z0-9.-].
	// They stay the device's: a caller that keeps one duplicates it at once.
	Files() map[string]*os.File
	// OnFiles has fn called, without locks held, after the set has changed. nil
	// ends the calls.
	OnFiles(fn func())
}

// A Forwarder forwards ports of the host to a guest. It is an ability that the
// devices of some drivers have.
type Forwarder interface {
	// AddForward starts forwarding. The error wraps syscall.EADDRINUSE when the
	// port is known to be taken.
	AddForward(ctx context.Context, f Forward) error
	// RemoveForward ends the forwarding of f.External, and its connections. It is
	// no error when there is none.
	RemoveForward(ctx context.Context, f Forward) error
	// Forwards lists what is forwarded to this interface.
	Forwards(ctx context.Context) ([]Forward, error)
}

// A Forward is a port forwarding rule.
type Forward struct {
	Protocol Protocol
	// External is the host's address and port; the zero Addr means all addresses.
	External netip.AddrPort
	// Internal is the guest's address and port.
	Internal netip.AddrPort
}

// A Protocol is an IP protocol number as IANA assigns them.
type Protocol uint8

// Protocols with a name of their own; a Protocol may hold any other number.
const (
	ICMP Protocol = 1
	TCP  Protocol = 6
	UDP  Protocol = 17
)

// A Namer gives names to the guests of a network in the DNS of that network. It is
// an ability that the networks of some drivers have.
type Namer interface {
	// SetNames makes each of names, a single DNS label in any case, a name below
	// NetworkInfo.Domain that leads to addrs, and each of addrs lead back to the
	// first of names. key says whose they are; what it had before is replaced. A
	// name that several keys have leads to the addresses of all, in ascending order.
	// NameGateway and NameHost, and what is no label, are
	// refused with InvalidArgument, an address family that the network does not
	// have with errors.ErrUnsupported; then nothing changes.
	SetNames(key string, names []string, addrs []netip.Addr) error
	// RemoveNames forgets the names of key. It is no error when there are none.
	RemoveNames(key string)
}

// Names that networks whose gateway answers DNS have by themselves.
const (
	NameGateway = "gateway" // the gateway
	NameHost    = "host"    // the host's loopback, with HostLoopback
)

// A BridgeLister lists the interfaces that Bridged accepts as uplinks. It is an
// ability that some drivers have.
type BridgeLister interface {
	BridgeableInterfaces(ctx context.Context) ([]string, error)
}

// A GuestLimiter bounds how many interfaces one guest has. It is an ability that
// some drivers have; a driver does not know which guest an interface is for, so
// its user keeps to the limit.
type GuestLimiter interface {
	// MaxGuestInterfaces returns the bound, at least 1.
	MaxGuestInterfaces() int
}

// A Serializer is a network that other processes of this host can join past its
// driver, through the system's framework. It is an ability that some networks
// have. The network lives no longer than the Network that was serialized.
type Serializer interface {
	// Serialize returns the value of SerializationKey in the dictionary that
	// vmnet_network_copy_serialization makes and
	// vmnet_network_create_with_serialization takes (macOS 26). The error wraps
	// errors.ErrUnsupported where there is none.
	Serialize(ctx context.Context) ([]byte, error)
}

// SerializationKey is the only key of a serialized network's dictionary
// (vmnet-broker 1fa7ae8; 120 bytes of data on macOS 26).
const SerializationKey = "networkSerialization"

// A RouterFinder is a network whose gateway is the host's own end of the link, with
// an Ethernet address that the system chose. It is an ability that some networks
// have; the gateway of the others has the address GatewayMAC.
type RouterFinder interface {
	// Router returns the host's end, once an interface of the network was started.
	// What it does not find yet, it may find a moment later: the system makes it
	// with the first interface. The error wraps ErrNoRouter.
	Router(ctx context.Context) (Router, error)
}

// A Router is the host's end of a network, as guests meet it on the link.
type Router struct {
	MAC net.HardwareAddr
	// LinkLocal is its IPv6 link-local address, without zone.
	LinkLocal netip.Addr
	// Addr6 is its address in NetworkConfig.Subnet6; zero: it has none.
	Addr6 netip.Addr
}

// A Queuer keeps frames for its guest until they are read. It is an ability that the
// devices of some drivers have: those of the others wait in the system.
type Queuer interface {
	// Queued returns how many bytes of frames wait for ReadBatch now. It takes no
	// lock that frames take.
	Queued() int
}

// Cooperative is an ability of a Device that leaves work on what WriteBatch was
// given to goroutines which it wakes. Its writer should wait for more in Go's
// poller: a thread that blocks in the kernel keeps those goroutines from its
// processor until another thread is woken to steal them.
type Cooperative interface {
	// Cooperative does nothing.
	Cooperative()
}
