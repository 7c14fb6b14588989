package netlink

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
)

// change runs fn with a socket and the name of a link.
func change(what string, link Link, fn func(fd int, name string) error) error {
	name, err := nameOf(link)
	if err == nil {
		err = withSocket(unix.AF_INET, func(fd int) error { return fn(fd, name) })
	}
	if err != nil {
		return fmt.Errorf("set %s of link %s: %w", what, name, err)
	}
	return nil
}

// setFlags sets and clears flags of an interface, IFF_.
func setFlags(link Link, set, clear uint16) error {
	return change("flags", link, func(fd int, name string) error {
		req, err := bsd.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := ioctl(fd, bsd.SIOCGIFFLAGS, &req); err != nil {
			return err
		}
		req.SetFlags(req.Flags()&^clear | set)
		return ioctl(fd, bsd.SIOCSIFFLAGS, &req)
	})
}

// LinkSetUp enables a link.
func LinkSetUp(link Link) error { return setFlags(link, bsd.IffUp, 0) }

// LinkSetDown disables a link.
func LinkSetDown(link Link) error { return setFlags(link, 0, bsd.IffUp) }

// LinkSetARPOff ends ARP on a link.
func LinkSetARPOff(link Link) error { return setFlags(link, bsd.IffNoARP, 0) }

// LinkSetARPOn begins ARP on a link.
func LinkSetARPOn(link Link) error { return setFlags(link, 0, bsd.IffNoARP) }

// LinkSetMTU sets the MTU of a link, in bytes of an IP packet.
func LinkSetMTU(link Link, mtu int) error {
	return change("mtu", link, func(fd int, name string) error {
		if mtu < 0 || mtu > 0x7fffffff {
			return fmt.Errorf("mtu %d: want at least 0: %w", mtu, unix.EINVAL)
		}
		req, err := bsd.NewIfreq(name)
		if err != nil {
			return err
		}
		req.SetMTU(int32(mtu))
		return ioctl(fd, bsd.SIOCSIFMTU, &req)
	})
}

// LinkSetHardwareAddr sets the hardware address of a link.
func LinkSetHardwareAddr(link Link, hwaddr net.HardwareAddr) error {
	return change("hardware address", link, func(fd int, name string) error {
		req, err := bsd.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := req.SetHW(hwaddr); err != nil {
			return err
		}
		return ioctl(fd, bsd.SIOCSIFLLADDR, &req)
	})
}

// LinkSetAlias sets the alias of a link; an empty one ends it.
func LinkSetAlias(link Link, name string) error {
	return change("alias", link, func(fd int, ifname string) error {
		req, err := bsd.Descreq(ifname, name)
		if err != nil {
			return err
		}
		return ioctl(fd, bsd.SIOCSIFDESC, &req)
	})
}

// LinkSetMaster makes a link a member of a bridge. A member of another bridge
// changes over, as on Linux.
func LinkSetMaster(link Link, master Link) error {
	if master == nil {
		return LinkSetNoMaster(link)
	}
	bridge, err := nameOf(master)
	if err != nil {
		return fmt.Errorf("set master: %w", err)
	}
	return change("master", link, func(fd int, name string) error {
		if done, err := leave(fd, name, bridge); done || err != nil {
			return err
		}
		req, err := bsd.Ifbreq(name)
		if err != nil {
			return err
		}
		return drvspec(fd, bsd.SIOCSDRVSPEC, bridge, bsd.BrdgAdd, &req)
	})
}

// LinkSetMasterByIndex makes a link a member of the bridge of that index; 0 is no
// bridge.
func LinkSetMasterByIndex(link Link, masterIndex int) error {
	if masterIndex == 0 {
		return LinkSetNoMaster(link)
	}
	master, err := LinkByIndex(masterIndex)
	if err != nil {
		return err
	}
	return LinkSetMaster(link, master)
}

// LinkSetNoMaster takes a link out of its bridge. It is no error if it is in none.
func LinkSetNoMaster(link Link) error {
	return change("no master", link, func(fd int, name string) error {
		_, err := leave(fd, name, "")
		return err
	})
}

// leave takes a member out of its bridge, unless that is the bridge to be in, when
// it reports that nothing is left to do.
func leave(fd int, name, keep string) (bool, error) {
	all, err := links()
	if err != nil {
		return false, err
	}
	master := masterOf(fd, name, all)
	if master == nil {
		return false, nil
	}
	if master.Attrs().Name == keep {
		return true, nil
	}
	req, err := bsd.Ifbreq(name)
	if err != nil {
		return false, err
	}
	return false, drvspec(fd, bsd.SIOCSDRVSPEC, master.Attrs().Name, bsd.BrdgDel, &req)
}
