package dhcp

import (
	"bytes"
	"net"
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

var unspecified6 = netip.IPv6Unspecified()

// maxReply6 is the longest DHCPv6 message that is sent: it fits the smallest MTU.
const maxReply6 = 1280 - ip6Len - udpLen

// An exchange6 is one DHCPv6 message and what becomes of it.
type exchange6 struct {
	r   *ResponderV6
	cfg *ConfigV6
	req *dhcpv6.Message
	mac net.HardwareAddr // of the frame, valid during the call
	src netip.Addr       // of the packet
}

// answer returns the frame to send, or nil. Which messages are answered, and
// which must name the server or must not, is in RFC 8415, sections 16 and 18.3.
func (x *exchange6) answer() []byte {
	s := &x.r.stats
	server := x.req.Options.ServerID()
	toUs := server != nil && bytes.Equal(server.ToBytes(), x.serverID().ToBytes())
	client := x.req.Options.ClientID() != nil
	switch x.req.MessageType {
	case dhcpv6.MessageTypeSolicit:
		if client && server == nil {
			s.solicits.Add(1)
			return x.solicit()
		}
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew:
		if client && toUs {
			s.requests.Add(1)
			return x.reply(x.bindings())
		}
	case dhcpv6.MessageTypeRebind:
		if client && server == nil {
			s.requests.Add(1)
			return x.reply(x.bindings())
		}
	case dhcpv6.MessageTypeConfirm:
		if addrs := x.addrs(); client && server == nil && len(addrs) > 0 {
			s.confirms.Add(1)
			return x.reply(dhcpv6.Options{x.confirm(addrs)})
		}
	case dhcpv6.MessageTypeInformationRequest:
		if (server == nil || toUs) && !x.asksForAddress() {
			s.informs.Add(1)
			return x.reply(dhcpv6.Options{dhcpv6.OptInformationRefreshTime(x.cfg.LeaseTime)})
		}
	case dhcpv6.MessageTypeRelease:
		if client && toUs {
			s.releases.Add(1)
			return x.reply(dhcpv6.Options{status(iana.StatusSuccess, "")})
		}
	case dhcpv6.MessageTypeDecline:
		if client && toUs {
			s.declines.Add(1)
			x.decline()
			return x.reply(dhcpv6.Options{status(iana.StatusSuccess, "")})
		}
	}
	s.ignored.Add(1)
	return nil
}

// solicit offers the address, or gives it at once to a client that asks for rapid
// commit (RFC 8415, section 18.3.1).
func (x *exchange6) solicit() []byte {
	if x.req.GetOneOption(dhcpv6.OptionRapidCommit) != nil {
		return x.reply(append(x.bindings(), &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit}))
	}
	x.r.stats.advertises.Add(1)
	// The highest preference, since there is no other server: the client need not
	// wait for more offers (section 18.2.1).
	opts := append(x.bindings(), &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionPreference, OptionData: []byte{255}})
	return x.message(dhcpv6.MessageTypeAdvertise, opts)
}

// bindings returns an answer to each identity association of the client. One gets
// the address: the one that names it, else the first.
func (x *exchange6) bindings() (opts dhcpv6.Options) {
	ias := x.req.Options.IANA()
	ours := slices.IndexFunc(ias, func(ia *dhcpv6.OptIANA) bool { return slices.Contains(addrsOf(ia), x.cfg.Addr.Addr()) })
	for i, ia := range ias {
		opts = append(opts, x.binding(ia, i == max(ours, 0)))
	}
	for _, ia := range x.req.Options.IATA() {
		opts = append(opts, &dhcpv6.OptIATA{IaId: ia.IaId, Options: dhcpv6.IdentityOptions{Options: dhcpv6.Options{
			status(iana.StatusNoAddrsAvail, "no temporary addresses here"),
		}}})
	}
	for _, ia := range x.req.Options.IAPD() {
		opts = append(opts, &dhcpv6.OptIAPD{IaId: ia.IaId, Options: dhcpv6.PDOptions{Options: dhcpv6.Options{
			status(iana.StatusNoPrefixAvail, "no prefixes here"),
		}}})
	}
	return opts
}

// binding answers one identity association: with the address, and with an end to
// every other one that the client has in it (RFC 8415, section 18.3.4).
func (x *exchange6) binding(ia *dhcpv6.OptIANA, gets bool) dhcpv6.Option {
	out := &dhcpv6.OptIANA{IaId: ia.IaId}
	mine := x.cfg.Addr.Addr()
	if gets {
		t := x.cfg.LeaseTime
		out.T1, out.T2 = t/2, t/5*4 // as section 21.4 recommends
		if t == Infinity {
			out.T1, out.T2 = t, t
		}
		out.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: mine.AsSlice(), PreferredLifetime: t, ValidLifetime: t})
	} else {
		out.Options.Add(status(iana.StatusNoAddrsAvail, "this interface has one address"))
	}
	if x.req.MessageType == dhcpv6.MessageTypeRenew || x.req.MessageType == dhcpv6.MessageTypeRebind {
		for _, a := range addrsOf(ia) {
			if a != mine || !gets {
				out.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice()})
			}
		}
	}
	return out
}

// confirm says whether a client that changed its link may keep its addresses.
// Any other than the lease's is wrong, if of the right prefix or not: the client
// then starts over and gets the one of the CNI result.
func (x *exchange6) confirm(addrs []netip.Addr) dhcpv6.Option {
	for _, a := range addrs {
		if a != x.cfg.Addr.Addr() {
			return status(iana.StatusNotOnLink, "the address of this interface is "+x.cfg.Addr.Addr().String())
		}
	}
	return status(iana.StatusSuccess, "")
}

func (x *exchange6) decline() {
	if x.cfg.OnDecline == nil {
		return
	}
	for _, a := range x.addrs() {
		x.cfg.OnDecline(Decline{Addr: a, MAC: bytes.Clone(x.mac)})
		return
	}
}

// addrs returns the addresses that the message names.
func (x *exchange6) addrs() (list []netip.Addr) {
	for _, ia := range x.req.Options.IANA() {
		list = append(list, addrsOf(ia)...)
	}
	return list
}

func addrsOf(ia *dhcpv6.OptIANA) (list []netip.Addr) {
	for _, o := range ia.Options.Addresses() {
		if a, ok := netip.AddrFromSlice(o.IPv6Addr); ok && len(list) < 16 {
			list = append(list, a)
		}
	}
	return list
}

// asksForAddress reports whether the message has an identity association, which
// an INFORMATION-REQUEST must not have (RFC 8415, section 16.12).
func (x *exchange6) asksForAddress() bool {
	o := x.req.Options
	return len(o.IANA()) > 0 || len(o.IATA()) > 0 || len(o.IAPD()) > 0
}

func (x *exchange6) reply(opts dhcpv6.Options) []byte {
	x.r.stats.replies.Add(1)
	return x.message(dhcpv6.MessageTypeReply, opts)
}

// message returns the frame of a message to the client.
func (x *exchange6) message(t dhcpv6.MessageType, opts dhcpv6.Options) []byte {
	m := &dhcpv6.Message{MessageType: t, TransactionID: x.req.TransactionID}
	m.AddOption(dhcpv6.OptServerID(x.serverID()))
	if id := x.req.GetOneOption(dhcpv6.OptionClientID); id != nil {
		m.AddOption(id)
	}
	for _, o := range opts {
		m.AddOption(o)
	}
	if t == dhcpv6.MessageTypeAdvertise || x.req.MessageType != dhcpv6.MessageTypeRelease &&
		x.req.MessageType != dhcpv6.MessageTypeDecline && x.req.MessageType != dhcpv6.MessageTypeConfirm {
		x.addNames(m)
	}
	h := header6{srcMAC: x.cfg.ServerMAC, dstMAC: x.mac, src: x.cfg.Server, dst: x.src, hops: 64}
	if !isStation(x.mac) {
		h.dstMAC = x.cfg.GuestMAC
	}
	msg := m.ToBytes()
	if len(msg) > maxReply6 { // a client with a hundred associations is none
		return nil
	}
	return h.udp(msg)
}

// addNames adds name servers and search list (RFC 3646), which every client may
// be told; the list only where it fits.
func (x *exchange6) addNames(m *dhcpv6.Message) {
	if len(x.cfg.DNS) > 0 {
		m.AddOption(dhcpv6.OptDNS(ips(x.cfg.DNS...)...))
	}
	if len(x.cfg.Search) == 0 {
		return
	}
	search := dhcpv6.OptDomainSearchList(&rfc1035label.Labels{Labels: x.cfg.Search})
	if len(m.ToBytes())+4+len(search.ToBytes()) <= maxReply6 {
		m.AddOption(search)
	}
}

// serverID is the same for every attachment of a network.
func (x *exchange6) serverID() dhcpv6.DUID {
	return &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: x.cfg.ServerID}
}

func status(code iana.StatusCode, text string) dhcpv6.Option {
	return &dhcpv6.OptStatusCode{StatusCode: code, StatusMessage: text}
}
