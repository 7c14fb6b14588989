package vmnet

import (
	"context"
	"os"
)

// A TapHolder is a device that is a tap interface of the kernel, so that a guest
// can have the tap itself and its frames do not pass this process. It is an
// ability that the devices of some drivers have, when Config.Tap was set.
type TapHolder interface {
	// Tap returns a duplicate of the tap's descriptor, which is the caller's to
	// close, for the guest to read and write frames on: one a call, with a
	// struct virtio_net_hdr of 10 bytes before each if the network has Offload.
	// Whoever has a duplicate shares the same queue with all others who have.
	Tap() (*os.File, error)
}

// A Plugger is a device whose guest's end can be a link in a network namespace,
// moved by the kernel. It is an ability that the devices of some drivers have.
type Plugger interface {
	// Plug makes the guest's end a link named ifname, with the interface's MAC
	// and MTU, in the network namespace ns, which stays the caller's. It is down
	// and has no addresses: these are the caller's to set. From then on
	// ReadBatch finds nothing and WriteBatch drops. The link goes away with
	// the device, or with its namespace. When the same link is there already (the
	// interface is started again), it is taken up as it is; a nil ns means the
	// namespace where an interface with the same UUID was plugged before. The error
	// wraps fs.ErrExist when ns has another link of that name, fs.ErrNotExist when ns
	// is nil and there is no such link, and errors.ErrUnsupported after Config.Tap.
	Plug(ctx context.Context, ns *os.File, ifname string) error
}

// A Ruler is a device for whose frames the kernel can do what the relay does for
// those that pass this process. It is an ability that the devices of some
// drivers have.
type Ruler interface {
	// SetRules replaces the rules, at once and as a whole. After an error the
	// rules before stay. Rules end with the device.
	SetRules(ctx context.Context, r Rules) error
}

// Rules are what holds for the frames of one guest. The zero value lets
// everything pass.
type Rules struct {
	Guard Guard
	// ToGuest and FromGuest bound the guest's rates.
	ToGuest, FromGuest Rate
	// Answer is shown the frames of the guest that ask for configuration: DHCP,
	// DHCPv6 and router solicitations. Nobody else sees these. It sends a reply, a
	// frame, to the guest by reply, which does not keep it and may be called
	// during Answer only. The frame is valid during the call only, and calls never
	// overlap. Nil: such frames go where all go.
	Answer func(frame []byte, reply func(frame []byte))
}

// A Rate bounds one direction. The zero value is no bound.
type Rate struct {
	Bits  uint64 // bits a second; 0: no bound
	Burst uint64 // bits that may go at once; 0: a quarter of a second's, at least 64 KiB
}

// A Leaver is a device or a network with parts in the system that work without this
// process: links, rules. It is an ability that those of some drivers have.
type Leaver interface {
	// Leave is Close for when another process goes on at once: what works without
	// this process stays as it is, for Open with the same name and Start with the
	// same UUID to take up. What nobody takes up is the Sweeper's. Close after Leave
	// does nothing, and the other way round.
	Leave() error
}

// A Sweeper finds what processes before this one left in the system when they
// were killed. It is an ability that some drivers have.
type Sweeper interface {
	// Sweep removes what has the driver's mark and no network that is open uses.
	// Call it when everything that is to come back has come back. It touches
	// nothing without the mark.
	Sweep(ctx context.Context) error
}
