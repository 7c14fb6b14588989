package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// netnsDir is where "ip netns" keeps namespaces too (ip-netns(8)).
const netnsDir = "/run/netns"

// netns makes network namespaces, each bound to a file as "ip netns add" does.
type netns struct{}

func newNetNS() (domains, error) {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return nil, err
	}
	return netns{}, nil
}

func (netns) create(name string) (string, error) {
	path := filepath.Join(netnsDir, name)
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		return "", err
	}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		src := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		if err := unix.Mount(src, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", path, err)
		}
		return nil
	})
	if err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return path, nil
}

func (n netns) file(name string) (string, error) { return n.create(name) }

func (netns) destroy(ref string) error {
	// EINVAL: not mounted any more; the file goes all the same.
	if err := unix.Unmount(ref, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", ref, err)
	}
	if err := os.Remove(ref); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (n netns) state() netState { return n }

// onThread runs fn on a thread of its own, which ends with it: a goroutine that
// returns while locked takes its thread along (runtime.LockOSThread).
func onThread(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- fn()
	}()
	return <-done
}

// within runs fn inside the namespace.
func within(ref string, fn func() error) error {
	return onThread(func() error {
		fd, err := unix.Open(ref, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", ref, err)
		}
		defer func() { _ = unix.Close(fd) }()
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s: %w", ref, err)
		}
		return fn()
	})
}

func (netns) hasLink(ref, name string) (bool, error) {
	found := false
	err := within(ref, func() error {
		_, err := netlink.LinkByName(name)
		found = err == nil
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		return err
	})
	return found, err
}

func (netns) drift(ref, name, what string) (bool, error) {
	can := true
	err := within(ref, func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		switch what {
		case "interface":
			return netlink.LinkDel(link)
		case "mac":
			return netlink.LinkSetHardwareAddr(link, net.HardwareAddr{2, 0xcf, 0, 0, 0, 1})
		case "mtu":
			return netlink.LinkSetMTU(link, link.Attrs().MTU-100)
		case "address":
			return dropAddresses(link)
		case "route":
			can, err = dropRoutes(link)
			return err
		}
		can = false
		return nil
	})
	return can, err
}

func dropAddresses(link netlink.Link) error {
	all, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, a := range all {
		if err := netlink.AddrDel(link, &a); err != nil {
			return err
		}
	}
	return nil
}

// dropRoutes removes the routes by a gateway, and reports whether there were any.
func dropRoutes(link netlink.Link) (some bool, err error) {
	all, err := netlink.RouteList(link, netlink.FAMILY_V4)
	if err != nil {
		return false, err
	}
	for _, r := range all {
		if r.Gw == nil {
			continue
		}
		some = true
		if err := netlink.RouteDel(&r); err != nil {
			return some, err
		}
	}
	return some, nil
}

func (netns) addRoute(ref, name, dst string) error {
	return within(ref, func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		_, ipn, err := net.ParseCIDR(dst)
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipn, Scope: netlink.SCOPE_LINK})
	})
}
