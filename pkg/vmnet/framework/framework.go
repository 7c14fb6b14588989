package framework

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// LibraryEnv names the environment variable with the path of the library to use
// on Linux.
const LibraryEnv = "VMNET_FRAMEWORK_LIBRARY"

// Defaults and limits.
const (
	// DefaultStartTimeout limits a call that opens a network or starts an
	// interface. The first one starts a daemon and has been seen to take 0.7 s.
	DefaultStartTimeout = 20 * time.Second
	// DefaultStopTimeout limits a call that ends something.
	DefaultStopTimeout = 5 * time.Second
	// MaxInterfaces is how many interfaces the framework lets exist at once
	// (Apple's documentation of vmnet).
	MaxInterfaces = 32
	// MaxGuestInterfaces is how many of them one guest may have (the same).
	MaxGuestInterfaces = 4
	// MaxHung is how many abandoned calls a driver lets pile up, each with its
	// thread, before it refuses new ones at once.
	MaxHung = 16
)

// Config says how a driver uses the framework. The zero value is right for most.
type Config struct {
	// Library is the path of a library with the whole ABI, in which every symbol
	// is looked up. Empty: the system's frameworks on macOS, the value of
	// VMNET_FRAMEWORK_LIBRARY on Linux.
	Library string
	// Classic keeps the driver from using the logical networks of macOS 26.
	Classic bool
	// StartTimeout and StopTimeout limit every single call into the framework.
	// Zero: DefaultStartTimeout, DefaultStopTimeout.
	StartTimeout, StopTimeout time.Duration
	// MaxInterfaces is how many interfaces this driver starts at most.
	// Zero: MaxInterfaces.
	MaxInterfaces int
	// Options adds, by the network's name, what can be set only while a logical
	// network is made.
	Options map[string]NetworkOptions
	// Log receives what no caller is there to be told: a late answer, a handler
	// that panicked. Nil: nothing is logged.
	Log func(format string, args ...any)
}

// NetworkOptions are settings of a logical network (macOS 26) that the system
// takes at creation only. Opening a network with options where there are no
// logical networks is an UnsupportedError.
type NetworkOptions struct {
	// Uplink is the interface through which a shared network reaches the
	// outside. Empty: the one of the default route, as it is then.
	Uplink string
	// Forwards are port forwarding rules; External has no address.
	Forwards []vmnet.Forward
	// Reservations are addresses that the system's DHCP server keeps.
	Reservations []Reservation
}

// A Reservation ties an IPv4 address to a MAC in the system's DHCP server.
type Reservation struct {
	MAC  net.HardwareAddr
	Addr netip.Addr
}

// A Joiner opens a network from what another process serialized. The driver has
// this ability; it is an UnsupportedError before macOS 26.
type Joiner interface {
	// Join opens the network; cfg says what it is expected to be.
	Join(ctx context.Context, cfg vmnet.NetworkConfig, serialization []byte) (vmnet.Network, error)
}

// An Inspector tells what a driver holds. The driver has this ability.
type Inspector interface {
	Stats() Stats
}

// Stats are figures of a driver. Blocks and Handles are those of all drivers of
// the process, which share one table.
type Stats struct {
	Networks   int   // open
	Interfaces int   // started or starting
	Hung       int64 // calls that were abandoned and have not returned
	HungTotal  int64 // calls that were ever abandoned
	Late       int64 // answers that came after their caller had gone
	Panics     int64 // handlers that panicked
	Truncated  int64 // frames that were longer than their buffer
	Adverts    int64 // router advertisements of the system that were kept from guests
	Handles    int   // blocks and devices that C may still name
	Blocks     int64 // block copies that C has not disposed of
}

// New loads the framework and returns its driver. The error wraps
// errors.ErrUnsupported where there is no framework, and names the symbol that is
// missing in a library that is not one. The library stays loaded for good: its
// threads may be running. The driver can do everything of vmnet.Driver, and is a
// vmnet.BridgeLister, a vmnet.GuestLimiter, a Joiner and an Inspector. Its
// networks are each a vmnet.Serializer, of use for logical ones.
func New(cfg Config) (vmnet.Driver, error) {
	if cfg.StartTimeout <= 0 {
		cfg.StartTimeout = DefaultStartTimeout
	}
	if cfg.StopTimeout <= 0 {
		cfg.StopTimeout = DefaultStopTimeout
	}
	if cfg.MaxInterfaces <= 0 {
		cfg.MaxInterfaces = MaxInterfaces
	}
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	return newDriver(cfg)
}
