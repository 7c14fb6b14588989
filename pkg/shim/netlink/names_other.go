//go:build !linux

package netlink

import (
	"errors"
	"syscall"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/conv"
)

// The address families of this system.
//
//nolint:revive // upstream's names
const (
	FAMILY_ALL  = syscall.AF_UNSPEC
	FAMILY_V4   = syscall.AF_INET
	FAMILY_V6   = syscall.AF_INET6
	FAMILY_MPLS = 28 // Linux's: this system has none
)

// ErrDumpInterrupted says that a list may be inconsistent, since it changed while
// it was read. No function returns it off Linux, where a list is read at once.
var ErrDumpInterrupted = errors.New("results may be incomplete or inconsistent")

// StringToTuntapModeMap names the modes of a Tuntap.
var StringToTuntapModeMap = map[string]TuntapMode{"tun": TUNTAP_MODE_TUN, "tap": TUNTAP_MODE_TAP}

// IfInfomsg has the fields of nl.IfInfomsg on Linux: what is said of a link besides
// its attributes.
type IfInfomsg struct{ ifInfomsg }

// ifInfomsg has the fields of unix.IfInfomsg on Linux. They lie as deep as there, so
// that Type of a LinkUpdate is the method of its Link.
type ifInfomsg struct {
	Family uint8
	Type   uint16 // Linux's ARPHRD_ value: 1 Ethernet, 772 loopback, 0xfffe none
	Index  int32
	Flags  uint32 // the system's IFF_ values
	Change uint32 // always all bits: the system does not say what changed
}

// EncapType returns what LinkAttrs.EncapType of the link is.
func (m *IfInfomsg) EncapType() string { return conv.Encap(m.Type) }

// A LinkUpdate is sent when a link changes. Header.Type is Linux's RTM_NEWLINK
// (16) or RTM_DELLINK (17), so that code that looks at it works.
type LinkUpdate struct {
	IfInfomsg
	Header NlMsghdr
	Link
}

// A Handle stands for a connection to the kernel. Off Linux there is none to
// keep: its methods do what the functions of their names do, and the zero Handle
// may be used.
type Handle struct{}

// Close does nothing and may be called often.
func (h *Handle) Close() {}

// Delete does nothing and may be called often.
func (h *Handle) Delete() {}
