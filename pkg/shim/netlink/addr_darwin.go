package netlink

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/conv"
)

// AddrList returns the addresses of a link, or of all if it is nil, of a family or
// of both.
func AddrList(link Link, family int) ([]Addr, error) {
	index, err := indexOf(link)
	if err != nil {
		return nil, err
	}
	all, err := fetch(unix.AF_UNSPEC, bsd.NetRtIflist2, 0)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []Addr
	of := map[uint16]*bsd.LinkMsg{}
	for _, m := range all {
		switch m := m.(type) {
		case *bsd.LinkMsg:
			of[m.Index] = m
		case *bsd.AddrMsg:
			if index != 0 && int(m.Index) != index || family != FAMILY_ALL && int(m.Ifa.Family) != family {
				continue
			}
			name, p2p := "", false
			if l := of[m.Index]; l != nil {
				name, p2p = l.Ifp.Link.Name, l.Flags&bsd.IffPointopoint != 0
			}
			if a, ok := conv.Addr(m, name, p2p); ok {
				out = append(out, a)
			}
		}
	}
	return out, nil
}

// AddrAdd adds an address to a link. One that the link has already is EEXIST.
func AddrAdd(link Link, addr *Addr) error {
	return explain("AddrAdd", "add address", setAddr(link, addr, true))
}

// AddrReplace adds an address to a link, or sets its mask and its peer if the link
// has it.
func AddrReplace(link Link, addr *Addr) error {
	return explain("AddrReplace", "replace address", setAddr(link, addr, false))
}

func setAddr(link Link, addr *Addr, fresh bool) error {
	name, p2p, err := about(link)
	if err != nil {
		return err
	}
	alias, err := conv.NewAlias(addr, p2p)
	if err != nil {
		return err
	}
	if fresh {
		have, err := AddrList(link, FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, a := range have {
			if a.IP.Equal(addr.IP) {
				return fmt.Errorf("%v on %s: %w", alias.Prefix, name, unix.EEXIST)
			}
		}
	}
	if err := addAlias(name, alias); err != nil {
		return fmt.Errorf("%v on %s: %w", alias.Prefix, name, err)
	}
	return nil
}

func addAlias(name string, a conv.Alias) error {
	if a.Prefix.Addr().Is4() {
		req, err := bsd.Aliasreq(name, a.Prefix, a.Other)
		if err != nil {
			return err
		}
		return withSocket(unix.AF_INET, func(fd int) error { return ioctl(fd, bsd.SIOCAIFADDR, &req) })
	}
	if a.Other.IsValid() {
		return conv.Unsupported("IPv6 address with a peer")
	}
	req, err := bsd.Aliasreq6(name, a.Prefix, a.Valid, a.Preferred)
	if err != nil {
		return err
	}
	return withSocket(unix.AF_INET6, func(fd int) error { return ioctl(fd, bsd.SIOCAIFADDR_IN6, &req) })
}

// about returns the name of a link and whether it is point-to-point.
func about(link Link) (string, bool, error) {
	index, err := indexOf(link)
	if err != nil {
		return "", false, err
	}
	l, err := LinkByIndex(index)
	if err != nil {
		return "", false, err
	}
	return l.Attrs().Name, l.Attrs().RawFlags&bsd.IffPointopoint != 0, nil
}

// AddrDel takes an address from a link. EADDRNOTAVAIL says that it has none such.
func AddrDel(link Link, addr *Addr) error {
	name, err := nameOf(link)
	if err != nil {
		return fmt.Errorf("delete address: %w", err)
	}
	if addr == nil || addr.IPNet == nil {
		return fmt.Errorf("delete address: none given")
	}
	ip, _ := netip.AddrFromSlice(addr.IP)
	if err := delAddr(name, ip.Unmap()); err != nil {
		return fmt.Errorf("delete address %v of %s: %w", ip.Unmap(), name, err)
	}
	return nil
}

func delAddr(name string, ip netip.Addr) error {
	if ip.Is6() {
		req, err := bsd.Ifreq6(name, ip)
		if err != nil {
			return err
		}
		return withSocket(unix.AF_INET6, func(fd int) error { return ioctl(fd, bsd.SIOCDIFADDR_IN6, &req) })
	}
	req, err := bsd.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := req.SetIP(ip); err != nil {
		return err
	}
	return withSocket(unix.AF_INET, func(fd int) error { return ioctl(fd, bsd.SIOCDIFADDR, &req) })
}
