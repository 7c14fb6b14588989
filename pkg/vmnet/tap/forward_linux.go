package tap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// maxForwards is how many forwards a device has, at most.
const maxForwards = 256

// forwards are a device's, guarded by its mu. nftables translates; a socket that
// is bound holds the port, so that no program of the host can have it and learns
// that at once.
type forwards struct {
	list   []vmnet.Forward
	held   map[forwardKey]*os.File
	tabled bool // there may be a table
}

type forwardKey struct {
	protocol vmnet.Protocol
	external netip.AddrPort
}

func keyOf(f vmnet.Forward) forwardKey {
	ext := f.External
	if !ext.Addr().IsValid() || ext.Addr().IsUnspecified() {
		ext = netip.AddrPortFrom(netip.IPv4Unspecified(), ext.Port())
	}
	return forwardKey{f.Protocol, ext}
}

// AddForward implements vmnet.Forwarder, for TCP and UDP over IPv4.
func (d *device) AddForward(ctx context.Context, f vmnet.Forward) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isGone() {
		return vmnet.ErrClosed
	}
	if err := errors.Join(ctx.Err(), d.checkForward(f)); err != nil {
		return err
	}
	if len(d.list) >= maxForwards {
		return fmt.Errorf("forward %s: there are %d: %w", f, maxForwards, vmnet.ErrLimit)
	}
	key := keyOf(f)
	if d.held[key] != nil {
		return fmt.Errorf("forward %s: %w", f, unix.EADDRINUSE)
	}
	socket, err := hold(key)
	if err != nil {
		return fmt.Errorf("forward %s: %w", f, err)
	}
	d.list = append(d.list, f)
	if err := d.setForwards(); err != nil {
		d.list = d.list[:len(d.list)-1]
		return errors.Join(fmt.Errorf("forward %s: %w", f, err), socket.Close())
	}
	if d.held == nil {
		d.held = map[forwardKey]*os.File{}
	}
	d.held[key] = socket
	return nil
}

func (d *device) checkForward(f vmnet.Forward) error {
	switch {
	case d.net.info.Mode == vmnet.Bridged || !d.net.info.Subnet.IsValid():
		return fmt.Errorf("forward %s: the network has no IPv4 subnet of the host's: %w", f, errors.ErrUnsupported)
	case f.Protocol != vmnet.TCP && f.Protocol != vmnet.UDP:
		return fmt.Errorf("forward %s: want tcp or udp: %w", f, errors.ErrUnsupported)
	case f.External.Addr().Is6() || !f.Internal.Addr().Is4():
		return fmt.Errorf("forward %s: want IPv4: %w", f, errors.ErrUnsupported)
	case f.External.Port() == 0 || f.Internal.Port() == 0 || !d.net.info.Subnet.Contains(f.Internal.Addr()):
		return fmt.Errorf("forward %s: want ports, and an address of %s: %w", f, d.net.info.Subnet, vmnet.InvalidArgument)
	}
	return nil
}

// hold binds the port.
func hold(k forwardKey) (*os.File, error) {
	typ := unix.SOCK_STREAM
	if k.protocol == vmnet.UDP {
		typ = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "forward "+k.external.String())
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) // nothing is ever read
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(k.external.Port()), Addr: k.external.Addr().As4()}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), f.Close())
	}
	return f, nil
}

// setForwards brings the device's table in line with its list. The caller holds
// mu.
func (d *device) setForwards() error {
	name := d.net.driver.names.table(d.name)
	if len(d.list) == 0 {
		if !d.tabled {
			return nil
		}
		err := deleteFamily(nftables.TableFamilyINet, name)
		d.tabled = err != nil
		return err
	}
	// So that packets from 127.0.0.1 leave by the bridge; the network's table keeps
	// those of guests to 127.0.0.0/8 out.
	if err := sysctl("ipv4", d.net.bridgeName, "route_localnet", "1"); err != nil {
		return err
	}
	var list []rule
	for _, f := range d.list {
		list = append(list, translation(f))
	}
	d.tabled = true // also after an error, which may be of the answer only
	return setTable(nftables.TableFamilyINet, name, []chain{
		{"prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, "", list},
		{"output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest, "", list},
	})
}

// translation is the rule of one forward.
func translation(f vmnet.Forward) rule {
	k := keyOf(f)
	to := rule{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: eq, Register: 1, Data: native(unix.RTN_LOCAL)},
	}
	if !k.external.Addr().IsUnspecified() {
		to = dst(eq, netip.PrefixFrom(k.external.Addr(), 32))
	}
	guest := f.Internal.Addr().As4()
	return rules(family(k.external.Addr()), to, l4(byte(f.Protocol)), dport(k.external.Port()), rule{
		&expr.Counter{},
		&expr.Immediate{Register: 1, Data: guest[:]},
		&expr.Immediate{Register: 2, Data: be16(f.Internal.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegAddrMax: 1, RegProtoMin: 2, RegProtoMax: 2, Specified: true},
	})
}

// RemoveForward implements vmnet.Forwarder.
func (d *device) RemoveForward(_ context.Context, f vmnet.Forward) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := keyOf(f)
	i := slices.IndexFunc(d.list, func(o vmnet.Forward) bool { return keyOf(o) == key })
	if i < 0 || d.isGone() {
		return nil
	}
	old := d.list[i]
	d.list = slices.Delete(slices.Clone(d.list), i, i+1)
	err := d.setForwards()
	d.endConnections(old)
	if s := d.held[key]; s != nil {
		delete(d.held, key)
		err = errors.Join(err, s.Close())
	}
	return err
}

// endConnections makes the kernel forget the connections of a forward. A kernel
// that cannot be told so forgets them when they are idle.
func (d *device) endConnections(f vmnet.Forward) {
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, connsOf(f))
	if err != nil {
		d.net.driver.cfg.Log("forward %s: its connections end by themselves: %v", f, err)
	}
}

// connsOf matches the connections of a forward.
type connsOf vmnet.Forward

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f connsOf) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return flow.Forward.Protocol == uint8(f.Protocol) && flow.Forward.DstPort == f.External.Port() &&
		flow.Reverse.SrcPort == f.Internal.Port() && flow.Reverse.SrcIP.Equal(net.IP(f.Internal.Addr().AsSlice()))
}

// Forwards implements vmnet.Forwarder.
func (d *device) Forwards(context.Context) ([]vmnet.Forward, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isGone() {
		return nil, vmnet.ErrClosed
	}
	return slices.Clone(d.list), nil
}

func (d *device) isGone() bool {
	d.io.RLock()
	defer d.io.RUnlock()
	return d.gone
}

// endForwards ends all. The caller holds mu.
func (d *device) endForwards() error {
	list := d.list
	d.list = nil
	err := d.setForwards()
	for _, f := range list {
		d.endConnections(f)
	}
	return errors.Join(err, d.letPorts())
}

// letPorts closes what keeps the forwarded ports from others. The caller holds mu.
func (d *device) letPorts() (err error) {
	for key, s := range d.held {
		delete(d.held, key)
		err = errors.Join(err, s.Close())
	}
	return err
}

// deleteFamily deletes the table of one family. That there is none is fine.
func deleteFamily(f nftables.TableFamily, name string) error {
	c, err := nftables.New()
	if err != nil {
		return opErr("nftables: open for table", name, err)
	}
	c.DelTable(c.AddTable(&nftables.Table{Family: f, Name: name}))
	return opErr("nftables: delete table", name, c.Flush())
}
