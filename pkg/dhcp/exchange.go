package dhcp

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// An exchange is one message and what becomes of it.
type exchange struct {
	r   *Responder
	cfg *Config
	req *dhcpv4.DHCPv4
	mac net.HardwareAddr // of the frame, valid during the call
	src netip.Addr       // of the packet
}

// answer returns the frame to send, or nil.
func (x *exchange) answer() []byte {
	s := &x.r.stats
	switch x.req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		s.discovers.Add(1)
		if x.req.Options.Has(dhcpv4.OptionRapidCommit) {
			return x.ack()
		}
		s.offers.Add(1)
		return x.reply(dhcpv4.MessageTypeOffer, x.leaseOptions())
	case dhcpv4.MessageTypeRequest:
		s.requests.Add(1)
		return x.request()
	case dhcpv4.MessageTypeInform:
		s.informs.Add(1)
		s.acks.Add(1)
		return x.reply(dhcpv4.MessageTypeAck, x.options())
	case dhcpv4.MessageTypeDecline:
		s.declines.Add(1)
		x.decline()
		return nil
	case dhcpv4.MessageTypeRelease:
		s.releases.Add(1)
		return nil
	}
	s.ignored.Add(1)
	return nil
}

// request answers a REQUEST by the state of the client, as RFC 2131, section
// 4.3.2, tells them apart.
func (x *exchange) request() []byte {
	if server, ok := x.option(dhcpv4.OptionServerIdentifier); ok { // selecting
		if server != x.cfg.ServerID {
			x.r.stats.ignored.Add(1)
			return nil
		}
		if wanted, ok := x.option(dhcpv4.OptionRequestedIPAddress); ok {
			return x.ackOrNak(wanted)
		}
		// Without the address that it chose; clients that were offered one and
		// fill in ciaddr instead have been seen.
		return x.ackOrNak(addrOf(x.req.ClientIPAddr))
	}
	if current := addrOf(x.req.ClientIPAddr); !current.IsUnspecified() { // renewing or rebinding
		return x.ackOrNak(current)
	}
	wanted, _ := x.option(dhcpv4.OptionRequestedIPAddress) // init-reboot
	return x.ackOrNak(wanted)
}

func (x *exchange) ackOrNak(a netip.Addr) []byte {
	if a == x.cfg.Addr.Addr() {
		return x.ack()
	}
	x.r.stats.naks.Add(1)
	return x.reply(dhcpv4.MessageTypeNak, dhcpv4.OptionsFromList(
		dhcpv4.OptMessage("the address of this interface is "+x.cfg.Addr.Addr().String())))
}

func (x *exchange) ack() []byte {
	x.r.stats.acks.Add(1)
	opts := x.leaseOptions()
	if x.req.MessageType() == dhcpv4.MessageTypeDiscover {
		opts.Update(dhcpv4.OptGeneric(dhcpv4.OptionRapidCommit, nil))
	}
	return x.reply(dhcpv4.MessageTypeAck, opts)
}

func (x *exchange) decline() {
	if x.cfg.OnDecline == nil {
		return
	}
	a, _ := x.option(dhcpv4.OptionRequestedIPAddress)
	x.cfg.OnDecline(Decline{Addr: a, MAC: bytes.Clone(x.hardware()), Message: x.req.Message()})
}

// option returns an option that is an address.
func (x *exchange) option(code dhcpv4.OptionCode) (netip.Addr, bool) {
	b := x.req.Options.Get(code)
	if len(b) != 4 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b)), true
}

// addrOf returns the address of a field of the message.
func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// hardware returns the Ethernet address of the client: the message's, else the
// frame's, else the guest's.
func (x *exchange) hardware() net.HardwareAddr {
	if x.req.HWType == iana.HWTypeEthernet && isStation(x.req.ClientHWAddr) {
		return x.req.ClientHWAddr
	}
	for _, mac := range [...]net.HardwareAddr{x.mac, x.cfg.GuestMAC} {
		if isStation(mac) {
			return mac
		}
	}
	return broadcastMAC
}

// isStation reports whether mac can be the address of a station.
func isStation(mac net.HardwareAddr) bool {
	return len(mac) == 6 && mac[0]&1 == 0 && !bytes.Equal(mac, make([]byte, 6))
}

// Where replies go to a client that cannot be reached under an address yet.
var (
	broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	broadcastIP  = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// reply returns the frame of a message of the type with the options.
func (x *exchange) reply(t dhcpv4.MessageType, opts dhcpv4.Options) []byte {
	m := &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootReply,
		HWType:        x.req.HWType,
		TransactionID: x.req.TransactionID,
		Flags:         x.req.Flags,
		ClientHWAddr:  x.req.ClientHWAddr,
		Options:       opts,
	}
	server := x.cfg.ServerID.As4()
	opts.Update(dhcpv4.OptMessageType(t))
	opts.Update(dhcpv4.OptServerIdentifier(server[:]))
	if id := x.req.Options.Get(dhcpv4.OptionClientIdentifier); id != nil {
		opts.Update(dhcpv4.OptGeneric(dhcpv4.OptionClientIdentifier, id))
	}
	if t == dhcpv4.MessageTypeAck { // table 3 of RFC 2131
		m.ClientIPAddr = x.req.ClientIPAddr
	}
	if t != dhcpv4.MessageTypeNak && x.req.MessageType() != dhcpv4.MessageTypeInform {
		guest := x.cfg.Addr.Addr().As4()
		m.YourIPAddr = guest[:]
	}
	fit(opts, x.room())
	return x.header(t).frame(m.ToBytes())
}

// header returns where the reply goes (RFC 2131, section 4.1).
func (x *exchange) header(t dhcpv4.MessageType) header {
	h := header{
		srcMAC: x.cfg.ServerMAC, dstMAC: x.hardware(),
		src: x.cfg.ServerID, dst: addrOf(x.req.ClientIPAddr),
	}
	switch {
	case t == dhcpv4.MessageTypeNak:
		h.dst = broadcastIP
	case !h.dst.IsUnspecified():
	case x.req.IsBroadcast():
		h.dst = broadcastIP
	case x.req.MessageType() != dhcpv4.MessageTypeInform:
		h.dst = x.cfg.Addr.Addr()
	default: // an INFORM without the address that it should name
		h.dst = x.src
	}
	if h.dst.IsUnspecified() {
		h.dst = broadcastIP
	}
	if h.dst == broadcastIP {
		h.dstMAC = broadcastMAC
	}
	return h
}
