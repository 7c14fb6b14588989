package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A Key names an attachment: one interface of one container in one network, as
// the CNI specification does. Its parts are not empty, are UTF-8 and hold no NUL.
type Key struct {
	Network     string `json:"network"`
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// String returns network/containerID/ifname, for messages.
func (k Key) String() string { return k.Network + "/" + k.ContainerID + "/" + k.IfName }

// maxName bounds each part of a key, in bytes. bbolt takes keys of 32 KiB.
const maxName = 1024

// check returns an error that wraps ErrInvalid and names the part at fault.
func (k Key) check() error {
	for _, part := range [...]struct{ name, value string }{
		{"network", k.Network}, {"container ID", k.ContainerID}, {"ifname", k.IfName},
	} {
		if part.value == "" {
			return fmt.Errorf("%s: want one, have none: %w", part.name, ErrInvalid)
		}
		if err := checkName(part.name, part.value); err != nil {
			return err
		}
	}
	return nil
}

// checkName returns an error for a string that cannot be part of a store key.
func checkName(what, s string) error {
	if len(s) > maxName {
		return fmt.Errorf("%s of %d bytes: want at most %d: %w", what, len(s), maxName, ErrInvalid)
	}
	if strings.IndexByte(s, 0) >= 0 {
		return fmt.Errorf("%s %q: want no NUL: %w", what, s, ErrInvalid)
	}
	if !utf8.ValidString(s) { // JSON would make another name of it
		return fmt.Errorf("%s %q: want UTF-8: %w", what, s, ErrInvalid)
	}
	return nil
}

// A Lease says that an attachment holds addresses. It lasts until it is
// released; there is no expiry, CNI's DEL ends it.
type Lease struct {
	Key
	// Addrs holds one address for each pool of the request, in its order, with
	// the length of the address's subnet.
	Addrs []netip.Prefix `json:"addrs"`
	// MAC is the one of the first request, for people.
	MAC string `json:"mac,omitempty"`
	// StickyKey is the key under which the addresses are remembered when they
	// are released.
	StickyKey string `json:"stickyKey"`
	// Machine is the one whose allocator gave the lease, in a store that several
	// machines share. See Config.Machine.
	Machine string `json:"machine,omitempty"`
	// Created is when the lease was given.
	Created time.Time `json:"created"`
	// Early says that an address was given before its quarantine was over, since
	// nothing else was free: the pool is too small for its use.
	Early bool `json:"early,omitempty"`
}

// Addr returns the first address of the lease.
func (l Lease) Addr() netip.Prefix {
	if len(l.Addrs) == 0 {
		return netip.Prefix{}
	}
	return l.Addrs[0]
}

// A Request asks for one address from each of Pools.
type Request struct {
	Key
	// Pools are the pools of the network, with different names. At least one.
	Pools []Pool
	// Want holds addresses that the lease must have, at most one a pool. They
	// are given even if they were never next, and refused when somebody has
	// them or no pool does.
	Want []netip.Addr
	// MAC is kept in the lease.
	MAC string
	// StickyKey is the key by which a released address is found again. Empty:
	// the container ID and the interface name.
	StickyKey string
	// Quarantine is how long after its release an address is kept from others
	// than its sticky key and those that name it in Want, as long as another one
	// is free. Zero: not at all.
	Quarantine time.Duration
	// WholeQuarantine makes the request end in an ExhaustedError where only
	// addresses in quarantine are free. Otherwise it gets one.
	WholeQuarantine bool
}

// stickyKey returns the sticky key with its default filled in.
func (r Request) stickyKey() string {
	if r.StickyKey != "" {
		return r.StickyKey
	}
	return r.ContainerID + "/" + r.IfName
}

// check returns an error that wraps ErrInvalid for a request that cannot be.
func (r Request) check() error {
	if err := r.Key.check(); err != nil {
		return err
	}
	if err := checkName("sticky key", r.StickyKey); err != nil {
		return err
	}
	if r.Quarantine < 0 {
		return fmt.Errorf("quarantine %s: want none below zero: %w", r.Quarantine, ErrInvalid)
	}
	if len(r.Pools) == 0 {
		return fmt.Errorf("pools: want at least one, have none: %w", ErrInvalid)
	}
	for i, p := range r.Pools {
		if p.Network != r.Network {
			return fmt.Errorf("pool %s: want one of network %q: %w", p, r.Network, ErrInvalid)
		}
		for _, q := range r.Pools[:i] {
			if p.Name == q.Name {
				return fmt.Errorf("pool %s: named twice: %w", p, ErrInvalid)
			}
		}
	}
	return nil
}

// checkWant returns an OutsideError if an address is wanted that no pool has in
// a subnet. Choose sees to the others.
func (r Request) checkWant() error {
	for _, a := range r.Want {
		if !slices.ContainsFunc(r.Pools, func(p Pool) bool { return p.contains(a) }) {
			return &OutsideError{Addr: a, Pools: r.Pools}
		}
	}
	return nil
}
