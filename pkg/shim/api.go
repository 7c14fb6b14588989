package shim

import (
	"net/netip"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// APIVersion is the first element of every path of the API but /metrics.
const APIVersion = "v1"

// Kinds of frame fd and of attachment sockets, in NetworkSpec.Frames and in the
// hand-over message.
const (
	FramesDgram  = "dgram"  // SOCK_DGRAM, one frame a datagram
	FramesStream = "stream" // SOCK_STREAM, a 4-byte big-endian length before each frame
	FramesTap    = "tap"    // the fd of a tap interface
)

// VnetHeaderLen is the length of a virtio-net header before the frames of a socket, in
// bytes.
const VnetHeaderLen = 12

// Names of drivers in NetworkSpec.Driver.
const (
	DriverAuto     = "auto" // vmnet on macOS where it may be used, else netstack
	DriverVmnet    = "vmnet"
	DriverNetstack = "netstack"
	DriverTap      = "tap"
)

// IPAM values of NetworkSpec.
const (
	IPAMBuiltin = ""          // the shim's own allocator
	IPAMNone    = "none"      // layer 2 only: the shim gives no addresses and answers no DHCP
	IPAMStatic  = "delegated" // the plugin got the addresses elsewhere and sends them in Attach.IPs
	IPAMSystem  = "system"    // the system's own DHCP server gives them (driver vmnet: macOS' bootpd, which writes /var/db/dhcpd_leases)
)

// Values of NetworkSpec.IPv4 and IPv6: how guests come to their addresses of that
// version.
const (
	IPManaged = "managed" // by DHCP, from the allocator
	IPSLAAC   = "slaac"   // the guest makes it from prefix and MAC, as RFC 4291 says; the allocator reserves that one
	IPNone    = "none"    // the network does not have that version
)

// A NetworkSpec is a network as a client asks for it. The first attachment of a
// network decides; later ones must ask for the same, key by key.
//
// A field that is new here, or in what follows, is new in plain.go and plainread.go
// too; TestPlainRequest and TestPlainUsual say when it is missing.
type NetworkSpec struct {
	Name         string       `json:"name"`
	Mode         vmnet.Mode   `json:"mode"`
	Driver       string       `json:"driver,omitempty"`  // DriverAuto when empty
	Subnet       netip.Prefix `json:"subnet,omitzero"`   // chosen and kept when zero
	Gateway      netip.Addr   `json:"gateway,omitzero"`  // first address of Subnet when zero
	Subnet6      netip.Prefix `json:"subnet6,omitzero"`  // a /64; chosen and kept when zero
	IPv4         string       `json:"ipv4,omitempty"`    // IPManaged when empty, or IPNone
	IPv6         string       `json:"ipv6,omitempty"`    // IPManaged when empty, IPSLAAC or IPNone
	RangeEnd     netip.Addr   `json:"rangeEnd,omitzero"` // last address that the system's DHCP server gives, with IPAMSystem; last of Subnet when zero
	Uplink       string       `json:"uplink,omitempty"`  // for mode bridged
	MTU          int          `json:"mtu,omitempty"`     // bytes; 1500 when 0
	Isolated     bool         `json:"isolated,omitempty"`
	Offload      bool         `json:"offload,omitempty"`
	IPAM         string       `json:"ipam,omitempty"`
	HostLoopback bool         `json:"hostLoopback,omitempty"`
	DNS          DNS          `json:"dns,omitzero"`
}

// DNS is what guests are told of name servers, as in the CNI result.
type DNS struct {
	Nameservers []string `json:"nameservers,omitempty"` // addresses; the gateway when empty
	Domain      string   `json:"domain,omitempty"`
	Search      []string `json:"search,omitempty"`
	Options     []string `json:"options,omitempty"`
}

// An AttachRequest is the body of PUT …/attachments/{containerID}/{ifname}.
// A second PUT with an equal body is answered as the first (200 instead of 201);
// one that differs is refused with CodeConflict.
type AttachRequest struct {
	// RequestID makes a request unlike all others, so that a caller that must
	// not find an existing attachment (CNI ADD) is told, and may still retry.
	RequestID string      `json:"requestID,omitempty"`
	Network   NetworkSpec `json:"network"`
	Frames    string      `json:"frames,omitempty"` // FramesDgram when empty
	// VnetHeader says that the runtime takes and sends a virtio-net header of 12 bytes
	// before each frame on the attachment's sockets. It needs Network.Offload.
	VnetHeader bool   `json:"vnetHeader,omitempty"`
	MAC        string `json:"mac,omitempty"` // wanted; made from the identity when empty
	// IPs are wanted, at most one of each IP version: "192.168.127.9", or with
	// "/24". With IPAMStatic they are
	// what the guest gets, with their length.
	IPs []string `json:"ips,omitempty"`
	// Ranges are where the shim's allocator takes the address from. Empty:
	// anywhere in the subnet. They need Network.Subnet.
	Ranges []Range `json:"ranges,omitempty"`
	// Lease says how the shim's allocator chooses. It must be empty where
	// Network.IPAM is not IPAMBuiltin.
	Lease LeasePolicy `json:"lease,omitzero"`
	// Gateway, Gateway6 and Routes are the guest's with IPAMStatic, and say what is in the
	// CNI result. They must not be set otherwise: then they are the network's.
	Gateway  netip.Addr `json:"gateway,omitzero"`
	Gateway6 netip.Addr `json:"gateway6,omitzero"`
	Routes   []Route    `json:"routes,omitempty"`
	Hostname string     `json:"hostname,omitempty"`
	DNS      DNS        `json:"dns,omitzero"`      // for this guest; each part that is set stands in for Network.DNS's
	Sandbox  string     `json:"sandbox,omitempty"` // CNI_NETNS as given, for people
	// Forwards are ports of the host that lead to the guest, where the driver can.
	Forwards []Forward `json:"forwards,omitempty"`
	// Bandwidth bounds the guest's rates.
	Bandwidth Bandwidth `json:"bandwidth,omitzero"`
	// Guard says what frames of the guest are dropped; see vmnet.Guard.
	Guard Guard `json:"guard,omitzero"`
	// Aliases are names, single DNS labels, by which the network's other guests
	// find this one, where the driver's gateway answers DNS.
	Aliases []string `json:"aliases,omitempty"`
}

// An Attachment is what the shim tells of one interface of one container.
type Attachment struct {
	Network     string `json:"network"`
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`

	Driver       string     `json:"driver"`
	Mode         vmnet.Mode `json:"mode"`
	MAC          string     `json:"mac"`
	MTU          int        `json:"mtu"`          // bytes of an IP packet
	MaxFrameSize int        `json:"maxFrameSize"` // bytes of a frame, without VnetHeader
	Offload      bool       `json:"offload"`
	VnetHeader   int        `json:"vnetHeader,omitempty"` // bytes of virtio-net header before each frame
	Frames       string     `json:"frames"`

	IPs      []IP    `json:"ips"`
	Routes   []Route `json:"routes,omitempty"`
	DNS      DNS     `json:"dns,omitzero"`
	Hostname string  `json:"hostname,omitempty"`

	Forwards  []Forward `json:"forwards,omitempty"`
	Bandwidth Bandwidth `json:"bandwidth,omitzero"`
	Guard     Guard     `json:"guard,omitzero"` // complete
	// Names are those that the network's DNS has for the guest, in full. The first
	// is the one that its address leads back to.
	Names []string `json:"names,omitempty"`

	SocketPath       string   `json:"socketPath"` // the one of the kind Frames
	DgramSocketPath  string   `json:"dgramSocketPath"`
	StreamSocketPath string   `json:"streamSocketPath"`
	HostInterfaces   []string `json:"hostInterfaces,omitempty"`

	Sandbox string    `json:"sandbox,omitempty"`
	Owner   uint32    `json:"owner"` // uid of the process that made it
	Created time.Time `json:"created"`
	// Seen are addresses of a guest to which the shim gives none, at most eight and
	// one of the system's DHCP server.
	Seen     []SeenAddress `json:"seen,omitempty"`
	Peer     Peer          `json:"peer"`
	Counters Counters      `json:"counters"`
	// Problem says why the attachment does not work: the shim could not bring it
	// back after a restart, when an equal PUT tries again; or its sockets' files
	// are gone. DELETE ends it.
	Problem string `json:"problem,omitempty"`
}

// IP is an address of a guest.
type IP struct {
	Address netip.Prefix `json:"address"` // with the subnet's length
	Gateway netip.Addr   `json:"gateway,omitzero"`
}

// Range is a run of addresses, both ends included.
type Range struct {
	First netip.Addr `json:"first"`
	Last  netip.Addr `json:"last"`
}

// Route is a route of a guest.
type Route struct {
	Dst netip.Prefix `json:"dst"`
	GW  netip.Addr   `json:"gw,omitzero"`
}

// Peer is the guest's side of an attachment.
type Peer struct {
	Connected bool      `json:"connected"`
	Via       string    `json:"via,omitempty"` // "fd", "dgram", "stream", ViaTap or ViaNetNS
	Since     time.Time `json:"since,omitzero"`
	// GoneSince is when the last one went, without an end of the attachment; of a
	// datagram socket, when that was noticed. Zero: there was none since the shim
	// took the attachment up.
	GoneSince time.Time `json:"goneSince,omitzero"`
}

// Values of Peer.Via of guests in network namespaces.
const (
	ViaTap   = "tap"   // a tap there, whose frames the shim moves
	ViaNetNS = "netns" // a link there, whose frames the driver's kernel moves
)

// Counters are those of an attachment since the shim took it up.
type Counters struct {
	FromGuest Direction `json:"fromGuest"`
	ToGuest   Direction `json:"toGuest"`
	// Answered counts frames that the shim answered itself (DHCP).
	Answered uint64 `json:"answered"`
}

// Direction counts one way.
type Direction struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
	// Drops counts frames that were dropped, by reason; zeros are left out.
	Drops map[string]uint64 `json:"drops,omitempty"`
	// QueuedBytes is how much waits at this moment, as far as driver and system tell:
	// from the guest what its socket holds, on Linux of datagrams the first alone; to
	// the guest what waits in driver netstack, for the rate and, on Linux, in the
	// socket, with what the kernel adds to each frame.
	QueuedBytes uint64 `json:"queuedBytes"`
}

// Network is what the shim tells of a network.
type Network struct {
	NetworkSpec                 // with the choices made
	GatewayMAC       string     `json:"gatewayMAC,omitempty"`
	HostLoopbackAddr netip.Addr `json:"hostLoopbackAddr,omitzero"`
	// HostLoopbackAddr6 leads to ::1.
	HostLoopbackAddr6 netip.Addr `json:"hostLoopbackAddr6,omitzero"`
	HostInterfaces    []string   `json:"hostInterfaces,omitempty"`
	Attachments       int        `json:"attachments"`
	Leases            int        `json:"leases"`
	Free              int        `json:"free"` // addresses that can still be given, at most 1<<31-1
}

// Status is the answer to GET /v1/status.
type Status struct {
	Version       string   `json:"version"`
	PID           int      `json:"pid"`
	UptimeSeconds float64  `json:"uptimeSeconds"`
	Goroutines    int      `json:"goroutines"`
	Networks      int      `json:"networks"`
	Attachments   int      `json:"attachments"`
	Drivers       []string `json:"drivers"`
	RuntimeDir    string   `json:"runtimeDir"`
	StateDir      string   `json:"stateDir"`
	// Kept says that guests stay connected when this shim ends: a keeper has what
	// the next one needs.
	Kept bool `json:"kept,omitempty"`
	// Keeper is the process ID of the keeper, 0 when that is a service manager or
	// there is none.
	Keeper   int      `json:"keeper,omitempty"`
	Problems []string `json:"problems,omitempty"` // what an operator should know
}

// GCRequest is the body of POST /v1/networks/{network}/gc: every attachment of
// the network that is the caller's and not named is deleted. Valid must be there
// and not be null; an empty list deletes all.
type GCRequest struct {
	Valid []AttachmentID `json:"valid"`
}

// AttachmentID names an attachment within a network, as the CNI spec does.
type AttachmentID struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// GCResult tells what a GC deleted.
type GCResult struct {
	Deleted []AttachmentID `json:"deleted"`
}
