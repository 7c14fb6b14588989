package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink"
)

// patience bounds a command and a question to the shim.
const patience = 5 * time.Second

// Here returns this machine. version is that of this program.
func Here(version string, macOS int) (Machine, error) {
	dirs, err := shim.FindDirs()
	if err != nil {
		return Machine{}, err
	}
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return Machine{}, err
	}
	home, _ := os.UserHomeDir() // a user without one has nothing in it
	return Machine{
		OS: runtime.GOOS, MacOS: macOS, UID: os.Geteuid(), Home: home, Version: version, Program: self, Dirs: dirs,
		CNIPath: dirsOf("CNI_PATH", cniBin, "/usr/lib/cni", "/usr/libexec/cni"),
		CNIConf: dirsOf("NETCONFPATH", "/etc/cni/net.d"), // cnitool's variable
		Path:    dirsOf("PATH"),
		Run:     run, Shim: func(ctx context.Context) (Shim, error) { return ask(ctx, dirs) },
		Links: links, Prefixes: prefixes, Dial: dial, Open: open, Free: freeBytes,
	}, nil
}

// dirsOf returns the directories that a variable names, else those given.
func dirsOf(env string, otherwise ...string) []string {
	if list := filepath.SplitList(os.Getenv(env)); len(list) > 0 {
		return list
	}
	return otherwise
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	return string(out), err
}

func ask(ctx context.Context, dirs shim.Dirs) (s Shim, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := shim.NewClient(dirs.ShimSocket())
	defer c.Close()
	if s.Status, err = c.Status(ctx); err != nil {
		return s, err
	}
	if s.Networks, err = c.Networks(ctx); err == nil {
		s.Attachments, err = c.Attachments(ctx)
	}
	return s, err
}

// prefixes lists addresses and routes with their interfaces.
func prefixes() ([]Prefix, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, i := range interfaces {
		names[i.Index] = i.Name
	}
	var all []Prefix
	add := func(n *net.IPNet, index int) {
		if p, ok := prefix(n); ok {
			all = append(all, Prefix{p, names[index]})
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		addrs, err := netlink.AddrList(nil, family)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, err
		}
		for _, a := range addrs {
			add(a.IPNet, a.LinkIndex)
		}
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, err
		}
		for _, r := range routes {
			add(r.Dst, r.LinkIndex)
		}
	}
	return all, nil
}

// prefix returns a prefix that takes room: no loopback, link-local or multicast.
func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	a = a.Unmap()
	if !ok || bits != a.BitLen() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones).Masked(), true
}

// dial connects to a port that most guests have; being refused is an answer too.
func dial(ctx context.Context, addr netip.Addr) error {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(addr, 22).String())
	if err == nil {
		c.Close()
	}
	return err
}

func open(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func freeBytes(path string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// Plain reports whether output should have no colours: it is no terminal, or
// NO_COLOR says so (https://no-color.org).
func Plain(terminal bool, getenv func(string) string) bool {
	return !terminal || getenv("NO_COLOR") != "" || strings.EqualFold(getenv("TERM"), "dumb")
}
