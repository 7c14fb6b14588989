package netlink

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/conv"
)

// NewHandle returns a Handle. Families are of no account: no socket is kept.
func NewHandle(_ ...int) (*Handle, error) { return &Handle{}, nil }

// LinkList returns the interfaces of the host, in the order of their indices.
func LinkList() ([]Link, error) {
	links, err := links()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	err = withSocket(unix.AF_INET, func(fd int) error {
		for _, l := range links {
			complete(fd, l, links)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

// links returns the interfaces without what needs ioctls.
func links() ([]Link, error) {
	all, err := fetch(unix.AF_UNSPEC, bsd.NetRtIflist2, 0)
	if err != nil {
		return nil, err
	}
	var out []Link
	for _, m := range all {
		if l, ok := m.(*bsd.LinkMsg); ok && l.Ifp.Link.Name != "" {
			out = append(out, conv.Link(l))
		}
	}
	slices.SortStableFunc(out, func(a, b Link) int { return a.Attrs().Index - b.Attrs().Index })
	return out, nil
}

// complete fills in the alias, the bridge that the link is a member of, and the
// peer of a feth. What the driver does not tell stays empty: not every interface
// has it.
func complete(fd int, l Link, all []Link) {
	a := l.Attrs()
	if desc, err := bsd.AskDescription(a.Name); err == nil && ioctl(fd, bsd.SIOCGIFDESC, &desc) == nil {
		a.Alias = bsd.Description(desc)
	}
	if master := masterOf(fd, a.Name, all); master != nil {
		a.MasterIndex = master.Attrs().Index
	}
	if v, ok := l.(*Veth); ok {
		v.PeerName = fethPeer(fd, a.Name)
	}
}

// masterOf returns the bridge that has a member of that name, nil for none.
func masterOf(fd int, name string, all []Link) Link {
	for _, l := range all {
		if _, ok := l.(*Bridge); !ok || l.Attrs().Name == name {
			continue
		}
		req, err := bsd.Ifbreq(name)
		if err == nil && drvspec(fd, bsd.SIOCGDRVSPEC, l.Attrs().Name, bsd.BrdgGIfFlags, &req) == nil {
			return l
		}
	}
	return nil
}

// fethPeer returns the name of a feth's peer, empty for none.
func fethPeer(fd int, name string) string {
	var req [160]byte
	if drvspec(fd, bsd.SIOCGDRVSPEC, name, bsd.FakeGetPeer, &req) != nil {
		return ""
	}
	return bsd.FakePeer(req)
}

// LinkByName finds a link by its name. A LinkNotFoundError says that there is
// none.
func LinkByName(name string) (Link, error) {
	return find(func(a *LinkAttrs) bool { return a.Name == name }, "Link %s not found", name)
}

// LinkByIndex finds a link by its index. A LinkNotFoundError says that there is
// none.
func LinkByIndex(index int) (Link, error) {
	return find(func(a *LinkAttrs) bool { return a.Index == index }, "Link not found")
}

// LinkByAlias finds a link by its alias. A LinkNotFoundError says that there is
// none.
func LinkByAlias(alias string) (Link, error) {
	all, err := LinkList()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if alias != "" && l.Attrs().Alias == alias {
			return l, nil
		}
	}
	return nil, linkNotFound("Link alias %s not found", alias)
}

func find(is func(*LinkAttrs) bool, missing string, args ...any) (Link, error) {
	all, err := links()
	if err != nil {
		return nil, fmt.Errorf("find link: %w", err)
	}
	for _, l := range all {
		if !is(l.Attrs()) {
			continue
		}
		return l, withSocket(unix.AF_INET, func(fd int) error {
			complete(fd, l, all)
			return nil
		})
	}
	return nil, linkNotFound(missing, args...)
}

// nameOf returns the name of a link, which may be known by its index alone, as
// upstream allows it.
func nameOf(l Link) (string, error) {
	switch {
	case l == nil:
		return "", fmt.Errorf("link: none given")
	case l.Attrs().Name != "":
		return l.Attrs().Name, nil
	}
	found, err := LinkByIndex(l.Attrs().Index)
	if err != nil {
		return "", err
	}
	return found.Attrs().Name, nil
}

// indexOf returns the index of a link, 0 for nil.
func indexOf(l Link) (int, error) {
	switch {
	case l == nil:
		return 0, nil
	case l.Attrs().Index != 0:
		return l.Attrs().Index, nil
	}
	found, err := LinkByName(l.Attrs().Name)
	if err != nil {
		return 0, err
	}
	return found.Attrs().Index, nil
}
