package conv

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
)

// Neigh returns the neighbour that a message tells of, false if it is none, or is
// the host itself.
func Neigh(m *bsd.RouteMsg) (netlink.Neigh, bool) {
	if m.Flags&bsd.RtfLLInfo == 0 || m.Flags&bsd.RtfLocal != 0 || !m.Dst.IP.IsValid() || m.Gateway.Family != bsd.AFLink {
		return netlink.Neigh{}, false
	}
	n := netlink.Neigh{
		LinkIndex: int(m.Index), Family: int(m.Dst.Family), Type: rtnUnicast,
		IP: ipOf(m.Dst.IP), HardwareAddr: m.Gateway.Link.HW, State: nudReach,
	}
	if i := m.Gateway.Link.Index; i != 0 {
		n.LinkIndex = int(i)
	}
	switch {
	case len(n.HardwareAddr) == 0:
		n.State = nudIncomp
	case m.Metrics.Expire == 0:
		n.State = nudPerm
	}
	if m.Flags&bsd.RtfProxy != 0 {
		n.Flags = ntfProxy
	}
	return n, true
}

// NewNeigh returns the message that adds or deletes a neighbour; its type is the
// caller's to set. macOS knows permanent entries: it finds the others itself.
func NewNeigh(n *netlink.Neigh, withHW bool) (*bsd.RouteMsg, error) {
	if n == nil {
		return nil, fmt.Errorf("neighbour: none given")
	}
	ip := addrOf(n.IP)
	switch {
	case !ip.IsValid():
		return nil, fmt.Errorf("neighbour: address %v: want an IP address", n.IP)
	case n.LinkIndex <= 0 || n.LinkIndex > 0xffff:
		return nil, fmt.Errorf("neighbour %v: link index %d: want 1 to 65535", ip, n.LinkIndex)
	case n.State != 0 && n.State != nudPerm && withHW:
		return nil, Unsupported(fmt.Sprintf("neighbour of state %#x", n.State))
	case n.Flags != 0:
		return nil, Unsupported(fmt.Sprintf("neighbour with flags %#x", n.Flags))
	case withHW && len(n.HardwareAddr) != 6:
		return nil, fmt.Errorf("neighbour %v: hardware address %v: want 6 bytes", ip, n.HardwareAddr)
	}
	l := bsd.Link{Index: uint16(n.LinkIndex), Type: bsd.IftEther}
	if withHW {
		l.HW = append(net.HardwareAddr(nil), n.HardwareAddr...)
	}
	return &bsd.RouteMsg{
		Index: uint16(n.LinkIndex), Flags: bsd.RtfHost | bsd.RtfStatic | bsd.RtfLLInfo, Inits: bsd.RtvExpire,
		Dst: bsd.IP(ip, uint32(n.LinkIndex)), Gateway: bsd.OnLink(l),
	}, nil
}
