package tap

import (
	"encoding/binary"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A remote is another network namespace, by the number that it has in this one
// (RTM_GETNSID, linux/net_namespace.h). Links there are asked for and deleted from
// here (IFLA_TARGET_NETNSID, Linux 4.20): that takes CAP_NET_ADMIN there, where
// entering it, as setns(2) does, takes CAP_SYS_ADMIN too.
type remote int32

// remoteOf returns the number of the namespace that fd is, and gives it one if it
// has none.
func remoteOf(fd int) (remote, error) {
	id, err := netlink.GetNetNsIdByFd(fd)
	if err == nil && id < 0 {
		err = netlink.SetNetNsIdByFd(fd, -1) // the kernel's choice
		if err == nil || os.IsExist(err) {   // or somebody else's, just now
			id, err = netlink.GetNetNsIdByFd(fd)
		}
	}
	if err != nil {
		return -1, opErr("number", "network namespace", err)
	}
	return remote(id), nil
}

// remotes returns all that have a number. They come and go.
func remotes() (list []remote, err error) {
	msgs, err := dump(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETNSID, unix.NLM_F_DUMP)
		req.AddData(nl.NewRtGenMsg())
		return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNSID)
	})
	if err != nil {
		return nil, opErr("list", "network namespaces", err)
	}
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttr(m[nl.DeserializeRtGenMsg(m).Len():])
		if err != nil {
			return nil, opErr("list", "network namespaces", err)
		}
		for _, a := range attrs {
			if a.Attr.Type == netlink.NETNSA_NSID && len(a.Value) == 4 {
				list = append(list, remote(binary.NativeEndian.Uint32(a.Value)))
			}
		}
	}
	return list, nil
}

func (r remote) request(typ, flags int, index int32) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(typ, flags)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = index
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, native(uint32(r))))
	return req
}

// find returns the first link for which is holds, or nil.
func (r remote) find(is func(*netlink.LinkAttrs) bool) (netlink.Link, error) {
	list, err := r.all(is)
	if len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// all returns the links for which is holds.
func (r remote) all(is func(*netlink.LinkAttrs) bool) (list []netlink.Link, err error) {
	msgs, err := dump(func() ([][]byte, error) {
		return r.request(unix.RTM_GETLINK, unix.NLM_F_DUMP, 0).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	})
	if err != nil {
		return nil, opErr("list", "links of a network namespace", err)
	}
	for _, m := range msgs {
		l, err := netlink.LinkDeserialize(nil, m)
		if err != nil {
			return nil, opErr("list", "links of a network namespace", err)
		}
		if is(l.Attrs()) {
			list = append(list, l)
		}
	}
	return list, nil
}

func named(name string) func(*netlink.LinkAttrs) bool {
	return func(a *netlink.LinkAttrs) bool { return a.Name == name }
}

func marked(mark string) func(*netlink.LinkAttrs) bool {
	return func(a *netlink.LinkAttrs) bool { return a.Alias == mark }
}

// moveLink moves a link of this namespace to the one that fd is, where it is down and
// has another name. (With RTM_SETLINK, IFLA_TARGET_NETNSID means to move a link too:
// one that is elsewhere cannot be changed from here.)
func moveLink(l netlink.Link, fd int, name string) error {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(l.Attrs().Index)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, native(uint32(fd))))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return opErr("move to its namespace", name, err)
}

func (r remote) remove(l netlink.Link) error {
	_, err := r.request(unix.RTM_DELLINK, unix.NLM_F_ACK, int32(l.Attrs().Index)).Execute(unix.NETLINK_ROUTE, 0)
	return opErr("unplug", l.Attrs().Name, err)
}

// findMarked looks for a link with that mark in all other namespaces.
func findMarked(mark string) (r remote, l netlink.Link, err error) {
	list, err := remotes()
	if err != nil {
		return -1, nil, err
	}
	for _, r := range list {
		// One that ends meanwhile has none.
		if l, err := r.find(marked(mark)); err == nil && l != nil {
			return r, l, nil
		}
	}
	return -1, nil, nil
}
