package netstack

import (
	"encoding/binary"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// gsoMaxSize is the largest TCP segment that the stack hands down in one piece;
// the endpoint cuts it into frames. An IPv4 packet has at most 65535 bytes.
const gsoMaxSize = 60 << 10

// An endpoint is the wire between the switch and the gateway's stack, seen from
// the stack: a link endpoint whose other side is the switch's gateway port.
type endpoint struct {
	mtu    uint32
	whole  bool // segments go to the guests in one piece: Offload
	mac    tcpip.LinkAddress
	fabric *fabric
	policy policy
	count  *counters
	refuse func(r Reason, ip []byte) // answers a refused packet

	dispatcher atomic.Pointer[dispatcher]
}

// A dispatcher is stack.NetworkDispatcher in a struct, for an atomic pointer.
type dispatcher struct{ stack.NetworkDispatcher }

var (
	_ stack.LinkEndpoint = (*endpoint)(nil)
	_ stack.GSOEndpoint  = (*endpoint)(nil)
)

// input takes one frame from a guest; group says that it was sent to a group.
func (e *endpoint) input(in *inbound, f []byte, group bool) {
	packet := f[vmnet.HeaderLen:]
	switch binary.BigEndian.Uint16(f[12:14]) {
	case uint16(header.ARPProtocolNumber):
		if !e.policy.arpForUs(packet) {
			return // another guest is asked, or answers
		}
		in.flush()
		e.deliver(header.ARPProtocolNumber, buffer.MakeWithData(packet[:header.ARPSize]))
	case uint16(header.IPv4ProtocolNumber):
		ip, reason := e.policy.check(packet, group)
		if reason != accept {
			e.count.drop(reason)
			e.refuse(reason, ip)
			return
		}
		in.add(ip)
	case uint16(header.IPv6ProtocolNumber):
		if !e.policy.six.subnet.IsValid() {
			// Every guest sends router solicitations and the like; not worth a count.
			return
		}
		ip, reason := e.policy.six.check(packet, group)
		switch reason {
		case accept:
			in.add(ip)
		case Unheard:
		default:
			e.count.drop(reason)
			e.refuse(reason, ip)
		}
	default:
		e.count.drop(EtherType)
	}
}

// deliver hands a packet to the stack, which takes payload over.
func (e *endpoint) deliver(proto tcpip.NetworkProtocolNumber, payload buffer.Buffer) {
	d := e.dispatcher.Load()
	if d == nil {
		payload.Release()
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: payload})
	pkt.NetworkProtocolNumber = proto
	d.DeliverNetworkPacket(proto, pkt)
	pkt.DecRef()
}

// WritePackets implements stack.LinkWriter.
func (e *endpoint) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	list := pkts.AsSlice()
	for _, pkt := range list {
		e.writePacket(pkt)
	}
	return len(list), nil
}

func (e *endpoint) writePacket(pkt *stack.PacketBuffer) {
	dst := pkt.EgressRoute.RemoteLinkAddress
	if len(dst) != header.EthernetAddressSize {
		return
	}
	var eth [vmnet.HeaderLen]byte
	copy(eth[0:6], dst)
	copy(eth[6:12], e.mac)
	binary.BigEndian.PutUint16(eth[12:14], uint16(pkt.NetworkProtocolNumber))
	key := keyOf(eth[0:6])
	gso := pkt.GSOOptions.Type == stack.GSOTCPv4 || pkt.GSOOptions.Type == stack.GSOTCPv6
	large := gso && pkt.Data().Size() > int(pkt.GSOOptions.MSS)
	if large && !e.whole {
		e.writeSegments(key, &eth, pkt)
		return
	}
	if pkt.Size() > int(e.mtu) && !large || pkt.Size() > maxRun {
		return // cannot be: the stack cuts into fragments; a buffer must not overflow
	}
	f := e.fabric.pool.get(vmnet.HeaderLen + pkt.Size())
	at := copy(f.buf, eth[:])
	for _, s := range pkt.AsSlices() {
		at += copy(f.buf[at:], s)
	}
	switch {
	case gso && pkt.GSOOptions.NeedsCsum:
		finishTCP(f.bytes()[vmnet.HeaderLen:], len(pkt.NetworkHeader().Slice()))
	case pkt.NetworkProtocolNumber == header.ARPProtocolNumber:
		e.askAsGateway(f.bytes()[vmnet.HeaderLen:])
	case pkt.NetworkProtocolNumber == header.IPv6ProtocolNumber:
		e.solicitAsGateway(f.bytes()[vmnet.HeaderLen:])
	}
	one := [1]*frame{f}
	e.fabric.output(key, one[:])
}

// askAsGateway makes an ARP request one of the gateway. The stack asks in the
// name of the packet's source, which may be any address of the outside: guests
// need not answer that, and policy would not let the answer in.
func (e *endpoint) askAsGateway(b []byte) {
	if a := header.ARP(b); a.IsValid() && a.Op() == header.ARPRequest {
		gateway := e.policy.gateway.As4()
		copy(a.ProtocolAddressSender(), gateway[:])
	}
}

// solicitAsGateway does for neighbour solicitations what askAsGateway does for ARP
// requests.
func (e *endpoint) solicitAsGateway(b []byte) {
	const length = header.IPv6MinimumSize + header.ICMPv6NeighborSolicitMinimumSize
	ip := header.IPv6(b)
	if len(b) < length || ip.NextHeader() != uint8(header.ICMPv6ProtocolNumber) {
		return
	}
	m := header.ICMPv6(b[header.IPv6MinimumSize:])
	if m.Type() != header.ICMPv6NeighborSolicit {
		return
	}
	ip.SetSourceAddress(fromAddr(e.policy.six.link))
	m.SetChecksum(0)
	m.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: m, Src: ip.SourceAddress(), Dst: ip.DestinationAddress()}))
}

// Attach implements stack.NetworkLinkEndpoint.
func (e *endpoint) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		e.dispatcher.Store(nil)
		return
	}
	e.dispatcher.Store(&dispatcher{d})
}

// IsAttached implements stack.NetworkLinkEndpoint.
func (e *endpoint) IsAttached() bool { return e.dispatcher.Load() != nil }

// MTU implements stack.NetworkLinkEndpoint.
func (e *endpoint) MTU() uint32 { return e.mtu }

// SetMTU implements stack.NetworkLinkEndpoint. A network's MTU never changes.
func (e *endpoint) SetMTU(uint32) {}

// MaxHeaderLength implements stack.NetworkLinkEndpoint: the Ethernet header is
// written into the frame, not into the packet.
func (e *endpoint) MaxHeaderLength() uint16 { return 0 }

// LinkAddress implements stack.NetworkLinkEndpoint.
func (e *endpoint) LinkAddress() tcpip.LinkAddress { return e.mac }

// SetLinkAddress implements stack.NetworkLinkEndpoint. The gateway's address
// never changes.
func (e *endpoint) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities implements stack.NetworkLinkEndpoint. Checksums from guests are
// not looked at: the wire is memory, which does not flip bits, and a guest whose
// offloads are set up wrongly still gets through.
func (e *endpoint) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired | stack.CapabilityRXChecksumOffload
}

// GSOMaxSize implements stack.GSOEndpoint.
func (e *endpoint) GSOMaxSize() uint32 { return gsoMaxSize }

// SupportedGSO implements stack.GSOEndpoint.
func (e *endpoint) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

// Wait implements stack.NetworkLinkEndpoint. The endpoint has no goroutines.
func (e *endpoint) Wait() {}

// ARPHardwareType implements stack.NetworkLinkEndpoint.
func (e *endpoint) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// AddHeader implements stack.NetworkLinkEndpoint.
func (e *endpoint) AddHeader(*stack.PacketBuffer) {}

// ParseHeader implements stack.NetworkLinkEndpoint.
func (e *endpoint) ParseHeader(*stack.PacketBuffer) bool { return true }

// Close implements stack.NetworkLinkEndpoint.
func (e *endpoint) Close() {}

// SetOnCloseAction implements stack.NetworkLinkEndpoint.
func (e *endpoint) SetOnCloseAction(func()) {}
