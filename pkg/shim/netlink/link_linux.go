package netlink

import (
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// IfInfomsg is [nl.IfInfomsg].
type IfInfomsg = nl.IfInfomsg

// LinkAdd is [netlink.LinkAdd]; a [*Vmnet] is asked of the shim.
func LinkAdd(link Link) error {
	if v, ok := link.(*Vmnet); ok {
		return v.add()
	}
	return netlink.LinkAdd(link)
}

// LinkDel is [netlink.LinkDel]; a [*Vmnet] is ended by the shim.
func LinkDel(link Link) error {
	if v, ok := link.(*Vmnet); ok {
		return v.del()
	}
	return netlink.LinkDel(link)
}
