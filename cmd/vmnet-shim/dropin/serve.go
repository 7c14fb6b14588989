package dropin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A helper is the one interface of vmnet-helper.
type helper struct {
	flags  *helperFlags
	req    shim.AttachRequest
	id     string
	socket *os.File // the guest's
	must   bool     // the DHCP server was asked for by name
	single bool     // socket has one guest at its other end, and no name
	has    bool     // the shim has socket
	sore   sore     // with the shim
	sorry  sore     // with handing over
	lost   *uint64  // frames of the guest when the shim found it gone; nil: it did not
	pid    int      // of the shim that was asked last
	log    *logrus.Logger
	stderr io.Writer
}

// serve attaches, prints what it is, hands guests over, and detaches when ctx ends.
func (h *helper) serve(ctx context.Context, stdout io.Writer) (err error) {
	c, err := ensure(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	a, err := h.attach(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, detach(ctx, c, a)) }()
	n, err := c.Network(ctx, a.Network)
	if err != nil {
		return err
	}
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	h.pid = status.PID
	line, err := json.Marshal(h.describe(a, n))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "%s\n", line); err != nil {
		return err
	}
	return h.loop(ctx, c, a)
}

// loop hands the guest's socket to the shim whenever the shim does not have it.
func (h *helper) loop(ctx context.Context, c *shim.Client, a shim.Attachment) error {
	stats, stop := every(h.flags.stats)
	defer stop()
	tick := time.NewTicker(tendEvery / 4)
	defer tick.Stop()
	for {
		if !h.has {
			h.give(ctx, c, a)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if h.check(ctx, c, a) {
				h.log.WithFields(logrus.Fields{"network": a.Network, "containerID": a.ContainerID, "ifname": a.IfName}).Info("guest has gone")
				return nil
			}
		case <-stats:
			h.printStats(ctx, c, a)
		}
	}
}

// give hands the guest's socket over.
func (h *helper) give(ctx context.Context, c *shim.Client, a shim.Attachment) {
	err := c.Give(ctx, a, h.socket)
	switch {
	case err == nil:
		h.has, h.sorry = true, sore{}
		h.log.WithFields(logrus.Fields{"network": a.Network, "containerID": a.ContainerID, "ifname": a.IfName}).Info("socket handed over")
	case ctx.Err() == nil:
		h.sorry.tell(h.log, err, "socket not handed over")
	}
}

// check finds out whether the shim still has the guest. over says that the guest of
// a descriptor has gone, which no other can follow: the real program ends then, too.
func (h *helper) check(ctx context.Context, c *shim.Client, a shim.Attachment) (over bool) {
	now, err := c.Attachment(ctx, a.Network, a.ContainerID, a.IfName)
	anew := shim.CodeOf(err) == shim.CodeNotFound
	if anew {
		now, err = c.Attach(ctx, a.Network, a.ContainerID, a.IfName, h.req)
	}
	status, serr := c.Status(ctx)
	switch {
	case serr == nil && status.PID != h.pid:
		h.has, h.pid, h.lost = false, status.PID, nil
	case err != nil:
	case anew:
		h.has, h.lost = false, nil
	case h.single && !now.Peer.Connected:
		over = h.gone(now.Counters.FromGuest.Frames)
	}
	if ctx.Err() == nil {
		h.sore.tell(h.log, err, "shim not reached")
	}
	return over
}

// gone notes that the shim finds nobody at the other end of the descriptor. That is
// so when it finds nobody a second time, and the guest has not sent a frame since.
func (h *helper) gone(frames uint64) bool {
	if h.lost != nil && *h.lost == frames {
		return true
	}
	h.has, h.lost = false, &frames
	return false
}

// detach deletes the attachment, also when ctx has ended.
func detach(ctx context.Context, c *shim.Client, a shim.Attachment) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachTime)
	defer cancel()
	return c.Detach(ctx, a.Network, a.ContainerID, a.IfName)
}

// describe returns the line that the real program prints, with the same keys.
func (h *helper) describe(a shim.Attachment, n shim.Network) map[string]any {
	m := map[string]any{
		"vmnet_mac_address":       a.MAC,
		"vmnet_mtu":               a.MTU,
		"vmnet_max_packet_size":   a.MaxFrameSize,
		"vmnet_interface_id":      h.flags.interfaceID,
		"vmnet_read_max_packets":  relay.BatchLen(a.MaxFrameSize),
		"vmnet_write_max_packets": relay.BatchLen(a.MaxFrameSize),
	}
	if n.Subnet.IsValid() {
		mask := net.IP(net.CIDRMask(n.Subnet.Bits(), 32)).String()
		m["vmnet_start_address"], m["vmnet_end_address"], m["vmnet_subnet_mask"] = n.Gateway, h.end(n), mask
		if h.flags.network != "" {
			m["net_ipv4_subnet"], m["net_ipv4_mask"] = n.Subnet.Addr(), mask
		}
	}
	if n.Subnet6.IsValid() {
		m["vmnet_nat66_prefix"] = n.Subnet6.Addr()
		if h.flags.network != "" {
			m["net_ipv6_prefix"], m["net_ipv6_prefix_len"] = n.Subnet6.Addr(), n.Subnet6.Bits()
		}
	}
	return m
}

// end returns the last address for guests: the one asked for, or the last before
// the broadcast address.
func (h *helper) end(n shim.Network) netip.Addr {
	if h.flags.net.end.IsValid() {
		return h.flags.net.end
	}
	b := n.Subnet.Masked().Addr().As4()
	for i := n.Subnet.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(b).Prev()
}

// printStats prints a line of JSON with the counters.
func (h *helper) printStats(ctx context.Context, c *shim.Client, a shim.Attachment) {
	now, err := c.Attachment(ctx, a.Network, a.ContainerID, a.IfName)
	if err != nil {
		h.log.WithError(err).Warn("counters not read")
		return
	}
	side := func(d shim.Direction) map[string]uint64 {
		var lost uint64
		for _, n := range d.Drops {
			lost += n
		}
		return map[string]uint64{"packets": d.Frames, "bytes": d.Bytes, "dropped": lost}
	}
	line, err := json.Marshal(map[string]any{
		"time": time.Now().UTC().Format(time.RFC3339), "vm": side(now.Counters.FromGuest), "host": side(now.Counters.ToGuest),
	})
	if err == nil {
		fmt.Fprintf(h.stderr, "%s\n", line)
	}
}

// uplinks returns the host's Ethernet-like interfaces that are up.
func uplinks() ([]string, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range list {
		if i.Flags&net.FlagUp != 0 && i.Flags&net.FlagLoopback == 0 && len(i.HardwareAddr) == 6 && i.Flags&net.FlagBroadcast != 0 {
			names = append(names, i.Name)
		}
	}
	return names, nil
}

// sudoOwner returns the user on whose behalf sudo runs this process, or -1s.
func sudoOwner() (uid, gid int) {
	id := func(name string) int {
		n, err := strconv.Atoi(os.Getenv(name))
		if err != nil || n < 0 || os.Geteuid() != 0 {
			return -1
		}
		return n
	}
	return id("SUDO_UID"), id("SUDO_GID")
}

// isDatagram checks that fd is a unix datagram socket.
func isDatagram(fd int) error {
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	switch {
	case err != nil:
		return os.NewSyscallError("getsockopt", err)
	case typ != unix.SOCK_DGRAM:
		return errors.New("not a datagram socket")
	}
	return nil
}
