package netlink

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/conv"
)

// LinkAdd makes a bridge, a pair of feth interfaces (from a Veth), or a [*Vmnet].
// The kernel names interfaces by their driver: want "bridge7", or "bridge" for a
// free number, which is then set. MTU, hardware address, master and the flag "up"
// are set where they are given. What was made is taken back after an error.
func LinkAdd(link Link) error {
	switch l := link.(type) {
	case *Vmnet:
		return l.add()
	case *Bridge:
		return explain("LinkAdd", "add link "+l.Name, addWith(link, "bridge", nil))
	case *Veth:
		return explain("LinkAdd", "add link "+l.Name, addWith(link, "feth", func(fd int) error { return addPeer(fd, l) }))
	case nil:
		return fmt.Errorf("add link: none given")
	}
	return explain("LinkAdd", "add link "+link.Attrs().Name, conv.Unsupported("link of type "+link.Type()))
}

// addWith makes an interface of a driver, runs more, and sets its attributes.
func addWith(link Link, driver string, more func(fd int) error) error {
	a := link.Attrs()
	return withSocket(unix.AF_INET, func(fd int) (err error) {
		if a.Name, err = create(fd, a.Name, driver); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, destroy(fd, a.Name))
			}
		}()
		i, err := net.InterfaceByName(a.Name)
		if err != nil {
			return err
		}
		a.Index = i.Index
		if more != nil {
			if err := more(fd); err != nil {
				return err
			}
		}
		return setUp(link)
	})
}

// setUp sets the attributes that a new link is to have.
func setUp(link Link) error {
	a := link.Attrs()
	if a.MTU > 0 {
		if err := LinkSetMTU(link, a.MTU); err != nil {
			return err
		}
	}
	if len(a.HardwareAddr) > 0 {
		if err := LinkSetHardwareAddr(link, a.HardwareAddr); err != nil {
			return err
		}
	}
	if a.MasterIndex > 0 {
		if err := LinkSetMasterByIndex(link, a.MasterIndex); err != nil {
			return err
		}
	}
	if a.Flags&net.FlagUp != 0 {
		return LinkSetUp(link)
	}
	return nil
}

// create makes an interface and returns its name.
func create(fd int, name, driver string) (string, error) {
	if name == "" {
		name = driver
	}
	if conv.Driver(name) != driver {
		return name, fmt.Errorf("name %q: want %q, or that and a number", name, driver)
	}
	req, err := bsd.NewIfreq(name)
	if err != nil {
		return name, err
	}
	if err := ioctl(fd, bsd.SIOCIFCREATE2, &req); err != nil {
		return name, err
	}
	return req.Name(), nil
}

// addPeer makes the other end of a feth and joins both.
func addPeer(fd int, v *Veth) (err error) {
	if v.PeerName, err = create(fd, v.PeerName, "feth"); err != nil {
		return fmt.Errorf("peer: %w", err)
	}
	req, err := bsd.FakeRequest(v.PeerName)
	if err == nil {
		err = drvspec(fd, bsd.SIOCSDRVSPEC, v.Name, bsd.FakeSetPeer, &req)
	}
	if err == nil && len(v.PeerHardwareAddr) > 0 {
		err = LinkSetHardwareAddr(&GenericLink{LinkAttrs: LinkAttrs{Name: v.PeerName}}, v.PeerHardwareAddr)
	}
	if err == nil && v.MTU > 0 {
		err = LinkSetMTU(&GenericLink{LinkAttrs: LinkAttrs{Name: v.PeerName}}, v.MTU)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("peer %s: %w", v.PeerName, err), destroy(fd, v.PeerName))
	}
	return nil
}

func destroy(fd int, name string) error {
	req, err := bsd.NewIfreq(name)
	if err != nil {
		return err
	}
	return ioctl(fd, bsd.SIOCIFDESTROY, &req)
}

// LinkDel ends a link that LinkAdd, or ifconfig, made. A feth's peer goes with it,
// as the peer of a Veth does on Linux.
func LinkDel(link Link) error {
	if v, ok := link.(*Vmnet); ok {
		return v.del()
	}
	name, err := nameOf(link)
	if err != nil {
		return fmt.Errorf("delete link: %w", err)
	}
	err = withSocket(unix.AF_INET, func(fd int) error {
		peer := ""
		if conv.Driver(name) == "feth" {
			peer = fethPeer(fd, name)
		}
		err := destroy(fd, name)
		if err == nil && peer != "" {
			err = destroy(fd, peer)
		}
		return err
	})
	return explain("LinkDel", "delete link "+name, err)
}
