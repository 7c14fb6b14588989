package conv

import (
	"net"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
)

// Link returns the link that a message tells of. A bridge is a *Bridge, a feth a
// *Veth, another Ethernet or loopback interface a *Device, as on Linux; others are
// a *GenericLink whose type is the name of their driver. Master, alias and the
// peer of a feth are not in the message.
func Link(m *bsd.LinkMsg) netlink.Link {
	a := attrs(m)
	switch driver := Driver(a.Name); {
	case m.Data.IfType == bsd.IftBridge || driver == "bridge":
		return &netlink.Bridge{LinkAttrs: a}
	case driver == "feth":
		return &netlink.Veth{LinkAttrs: a}
	case m.Data.IfType == bsd.IftEther, m.Data.IfType == bsd.IftLoop:
		return &netlink.Device{LinkAttrs: a}
	default:
		return &netlink.GenericLink{LinkAttrs: a, LinkType: driver}
	}
}

// Driver returns the name of the driver in an interface's name: "bridge" of
// "bridge100".
func Driver(name string) string { return strings.TrimRight(name, "0123456789") }

func attrs(m *bsd.LinkMsg) netlink.LinkAttrs {
	a := netlink.LinkAttrs{
		Index: int(m.Index), Name: m.Ifp.Link.Name, HardwareAddr: m.Ifp.Link.HW,
		MTU: int(m.Data.MTU), TxQLen: int(m.QLen), Flags: Flags(m.Flags), RawFlags: m.Flags,
		Statistics: statistics(m), EncapType: encap(m.Data.IfType), OperState: state(m),
	}
	if m.Flags&bsd.IffPromisc != 0 {
		a.Promisc = 1
	}
	if m.Flags&bsd.IffAllmulti != 0 {
		a.Allmulti = 1
	}
	if m.Flags&bsd.IffMulticast != 0 {
		a.Multi = 1
	}
	return a
}

// Flags returns the flags of an interface as package net has them.
func Flags(raw uint32) (f net.Flags) {
	for bit, flag := range map[uint32]net.Flags{
		bsd.IffUp: net.FlagUp, bsd.IffBroadcast: net.FlagBroadcast, bsd.IffLoopback: net.FlagLoopback,
		bsd.IffPointopoint: net.FlagPointToPoint, bsd.IffMulticast: net.FlagMulticast, bsd.IffRunning: net.FlagRunning,
	} {
		if raw&bit != 0 {
			f |= flag
		}
	}
	return f
}

// Linux's types of hardware (linux/if_arp.h), by what is said of them.
const (
	hwEther    = 1
	hwLoopback = 772
	hwNone     = 0xfffe
)

// Hardware returns Linux's ARPHRD_ value of an EncapType.
func Hardware(encap string) uint16 {
	switch encap {
	case "ether":
		return hwEther
	case "loopback":
		return hwLoopback
	}
	return hwNone
}

// Encap is the inverse of Hardware.
func Encap(hardware uint16) string {
	switch hardware {
	case hwEther:
		return "ether"
	case hwLoopback:
		return "loopback"
	}
	return "none"
}

func encap(ifType uint8) string {
	switch ifType {
	case bsd.IftEther, bsd.IftBridge, bsd.IftL2VLAN:
		return "ether"
	case bsd.IftLoop:
		return "loopback"
	}
	return "none"
}

// state tells whether frames pass: macOS says with IFF_RUNNING what Linux says
// with the carrier. Loopback is "unknown" on Linux too.
func state(m *bsd.LinkMsg) netlink.LinkOperState {
	switch {
	case m.Data.IfType == bsd.IftLoop:
		return netlink.OperUnknown
	case m.Flags&bsd.IffUp != 0 && m.Flags&bsd.IffRunning != 0:
		return netlink.OperUp
	}
	return netlink.OperDown
}

func statistics(m *bsd.LinkMsg) *netlink.LinkStatistics {
	d := m.Data
	return &netlink.LinkStatistics{
		RxPackets: d.RxPackets, TxPackets: d.TxPackets, RxBytes: d.RxBytes, TxBytes: d.TxBytes,
		RxErrors: d.RxErrors, TxErrors: d.TxErrors, RxDropped: d.RxDropped,
		Multicast: d.RxMulticast, Collisions: d.Collisions,
	}
}
