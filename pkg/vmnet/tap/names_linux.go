package tap

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// Names of links have 13 bytes: 3 that say what they are and 10 of a hash. The
// kernel takes 15 (IFNAMSIZ).
const (
	bridgePrefix = "vmb" // a network's bridge
	portPrefix   = "vmt" // a device: tap, macvtap, or the host's end of a veth
	hashDigits   = 10
	maxAlias     = 250 // bytes; the kernel takes 255 (IFALIASZ)
)

// A system is what a driver has of Linux.
type system struct {
	names marks
	state state
}

func newSystem(owner string) system { return system{names: newNames(owner)} }

// marks makes names and marks for one owner.
type marks struct{ owner string }

func newNames(owner string) marks { return marks{digest(8, "owner", owner)} }

// digest returns n hexadecimal digits that stand for parts.
func digest(n int, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])[:n]
}

// bridge names the bridge of a network.
func (n marks) bridge(network string) string {
	return bridgePrefix + digest(hashDigits, n.owner, network)
}

// port names the link of a device.
func (n marks) port(network, uuid string) string {
	return portPrefix + digest(hashDigits, n.owner, network, uuid)
}

// alias is the mark of a link of a network. notes are for who reads it after a
// crash.
func (n marks) alias(network string, notes ...string) string {
	if len(network) > maxAlias/2 {
		network = network[:maxAlias/2]
	}
	return strings.Join(append([]string{"vmnet", n.owner, network}, notes...), ":")
}

// group is the group (IFLA_GROUP) of a link from when it is made until it has its
// mark. The kernel takes a group with the name, and an alias only of a link that is
// there: a process may be killed between the two.
func (n marks) group() uint32 {
	number, _ := strconv.ParseUint(n.owner, 16, 32) // 8 digits
	return uint32(number)&^(1<<31) | 1<<30          // the kernel has an int; people have small ones
}

// ours reports whether a link has this owner's mark, or was to get it.
func (n marks) ours(a *netlink.LinkAttrs) bool {
	return strings.HasPrefix(a.Alias, "vmnet:"+n.owner+":") || a.Alias == "" && a.Group == n.group()
}

// table names the table of nftables that belongs to a link.
func (n marks) table(link string) string { return "vmnet-" + n.owner + "-" + link }

// tableOf is the inverse of table.
func (n marks) tableOf(table string) (link string, ours bool) {
	return strings.CutPrefix(table, "vmnet-"+n.owner+"-")
}
