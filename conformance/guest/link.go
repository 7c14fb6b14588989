package guest

import (
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/relay/vnethdr"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// maxFrame is the largest frame that any network of this module has, in bytes, with
// its virtio-net header.
const maxFrame = 65536 + vmnet.HeaderLen + vnethdr.Len

// A link is the guest's network card: the lowest layer of its stack, on a port.
type link struct {
	port  relay.Port
	mac   tcpip.LinkAddress
	mtu   atomic.Uint32
	batch int  // frames moved at once
	whole bool // segments are sent in one piece
	head  int  // bytes of virtio-net header before each frame

	up         sync.Once
	done       chan struct{} // closed when the reader has ended
	dispatcher atomic.Pointer[dispatcherBox]
	// catch gets every frame before the stack does; it reports whether it took it.
	catch atomic.Pointer[func(frame []byte) bool]

	rxFrames, rxBytes, rxLarge, rxWhole, txFrames, txBytes, txDropped atomic.Uint64

	mu   sync.Mutex // guards all following fields
	bufs [][]byte   // one batch of frames to be sent
	out  [][]byte
}

type dispatcherBox struct{ stack.NetworkDispatcher }

var (
	_ stack.LinkEndpoint = (*link)(nil)
	_ stack.GSOEndpoint  = (*link)(nil)
)

// Stats counts what passed the guest's network card.
type Stats struct {
	RxFrames, RxBytes, TxFrames, TxBytes uint64
	// RxLarge counts frames larger than the MTU, and RxWhole those of them whose
	// virtio-net header says how they are to be cut.
	RxLarge, RxWhole uint64
	// TxDropped counts frames that the host's side did not take in time.
	TxDropped uint64
}

func newLink(port relay.Port, cfg Config) *link {
	l := &link{port: port, mac: tcpip.LinkAddress(cfg.MAC), done: make(chan struct{}), whole: cfg.Offload}
	if cfg.VnetHeader {
		l.head = vnethdr.Len
	}
	l.mtu.Store(uint32(cfg.MTU))
	l.batch = relay.BatchLen(cfg.MTU + vmnet.HeaderLen)
	l.bufs = relay.NewBuffers(l.batch, maxFrame)
	l.out = make([][]byte, 0, l.batch)
	return l
}

// start starts the reader.
func (l *link) start() { l.up.Do(func() { go l.read() }) }

// read hands frames to the stack until the port ends.
func (l *link) read() {
	defer close(l.done)
	bufs, sizes := relay.NewBuffers(l.batch, maxFrame), make([]int, l.batch)
	for {
		n, err := l.port.ReadBatch(bufs, sizes)
		if err != nil {
			return
		}
		for k := range n {
			l.deliver(bufs[k][:sizes[k]])
		}
	}
}

// unwrap takes the header away from a message, and makes the checksum that it says is
// open: the stack verifies it, and so what the header and the open sum say.
func (l *link) unwrap(msg []byte) (frame []byte, ok bool) {
	if l.head == 0 {
		return msg, true
	}
	if len(msg) < l.head+vmnet.HeaderLen {
		return nil, false
	}
	h := vnethdr.Parse(msg)
	if h.Check(msg[l.head:]) != nil {
		return nil, false
	}
	if h.GSO != vnethdr.GSONone {
		l.rxWhole.Add(1)
	}
	h.Finish(msg[l.head:])
	return msg[l.head:], true
}

// deliver hands one frame on, if it is for this guest.
func (l *link) deliver(msg []byte) {
	frame, ok := l.unwrap(msg)
	if !ok {
		return // no header that fits: lost, as with a device that breaks the rules
	}
	l.rxFrames.Add(1)
	if len(frame) > int(l.mtu.Load())+vmnet.HeaderLen {
		l.rxLarge.Add(1)
	}
	l.rxBytes.Add(uint64(len(frame)))
	eth := header.Ethernet(frame)
	dst := eth.DestinationAddress()
	kind := tcpip.PacketHost
	switch {
	case dst == header.EthernetBroadcastAddress:
		kind = tcpip.PacketBroadcast
	case header.IsMulticastEthernetAddress(dst):
		kind = tcpip.PacketMulticast
	case dst != l.mac:
		return // as a network card that is not promiscuous
	}
	if catch := l.catch.Load(); catch != nil && (*catch)(frame) {
		return
	}
	d := l.dispatcher.Load()
	if d == nil {
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	defer pkt.DecRef()
	if !l.ParseHeader(pkt) {
		return
	}
	pkt.PktType = kind
	d.DeliverNetworkPacket(eth.Type(), pkt)
}

// WritePackets implements stack.LinkWriter: it sends the packets as frames, as
// many at once as fit a batch. What the host's side does not take in time is
// lost, as on a cable.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = l.out[:0]
	for _, pkt := range pkts.AsSlice() {
		frame := l.bufs[len(l.out)]
		n := l.head
		l.describe(frame, pkt)
		for _, part := range pkt.AsSlices() {
			n += copy(frame[n:], part)
		}
		if l.out = append(l.out, frame[:n]); len(l.out) == l.batch {
			l.flushLocked()
		}
	}
	l.flushLocked()
	return pkts.Len(), nil
}

// describe writes the header of a packet: what the stack left to the card.
func (l *link) describe(msg []byte, pkt *stack.PacketBuffer) {
	if l.head == 0 {
		return
	}
	var h vnethdr.Header
	if gso := pkt.GSOOptions; gso.Type != stack.GSONone && gso.NeedsCsum {
		h.Flags = vnethdr.NeedsChecksum
		h.ChecksumStart = uint16(header.EthernetMinimumSize + int(gso.L3HdrLen))
		h.ChecksumOffset = gso.CsumOffset
		if pkt.Data().Size() > int(gso.MSS) {
			h.GSO, h.SegmentSize, h.HeaderLen = vnethdr.GSOTCP4, gso.MSS, uint16(pkt.HeaderSize())
		}
	}
	h.Put(msg)
}

// flushLocked sends what is in out.
func (l *link) flushLocked() {
	if len(l.out) > 0 {
		l.countSent(l.out)
	}
	l.out = l.out[:0]
}

func (l *link) countSent(frames [][]byte) {
	n, _ := l.port.WriteBatch(frames) // why the rest was not taken changes nothing here
	l.txFrames.Add(uint64(n))
	for _, f := range frames[:n] {
		l.txBytes.Add(uint64(len(f)))
	}
	l.txDropped.Add(uint64(len(frames) - n))
}

// send sends one frame that did not come from the stack.
func (l *link) send(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.countSent([][]byte{append(make([]byte, l.head), frame...)})
}

func (l *link) stats() Stats {
	return Stats{
		RxFrames: l.rxFrames.Load(), RxBytes: l.rxBytes.Load(), RxLarge: l.rxLarge.Load(), RxWhole: l.rxWhole.Load(),
		TxFrames: l.txFrames.Load(), TxBytes: l.txBytes.Load(), TxDropped: l.txDropped.Load(),
	}
}

// AddHeader implements stack.NetworkLinkEndpoint.
func (l *link) AddHeader(pkt *stack.PacketBuffer) {
	eth := header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize))
	eth.Encode(&header.EthernetFields{
		SrcAddr: l.mac, DstAddr: pkt.EgressRoute.RemoteLinkAddress, Type: pkt.NetworkProtocolNumber,
	})
}

// ParseHeader implements stack.NetworkLinkEndpoint.
func (l *link) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

// Attach implements stack.NetworkLinkEndpoint.
func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&dispatcherBox{d})
}

// IsAttached implements stack.NetworkLinkEndpoint.
func (l *link) IsAttached() bool { return l.dispatcher.Load() != nil }

// Wait implements stack.NetworkLinkEndpoint. A link that was never started has
// nothing to wait for.
func (l *link) Wait() {
	l.up.Do(func() { close(l.done) })
	<-l.done
}

// MTU implements stack.NetworkLinkEndpoint.
func (l *link) MTU() uint32 { return l.mtu.Load() }

// SetMTU implements stack.NetworkLinkEndpoint.
func (l *link) SetMTU(mtu uint32) { l.mtu.Store(mtu) }

// MaxHeaderLength implements stack.NetworkLinkEndpoint.
func (l *link) MaxHeaderLength() uint16 { return header.EthernetMinimumSize }

// LinkAddress implements stack.NetworkLinkEndpoint.
func (l *link) LinkAddress() tcpip.LinkAddress { return l.mac }

// SetLinkAddress implements stack.NetworkLinkEndpoint; the address stays.
func (l *link) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities implements stack.NetworkLinkEndpoint. Checksums are made and
// checked in full, as a guest without offloads does.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired
}

// GSOMaxSize implements stack.GSOEndpoint.
func (l *link) GSOMaxSize() uint32 {
	if l.whole {
		return 60 << 10 // a packet has at most 65535 bytes
	}
	return 64 << 10
}

// SupportedGSO implements stack.GSOEndpoint: the stack cuts segments itself and
// passes them down together, so that they are sent in one batch. With Offload it
// passes them down whole, with the checksum left to the receiver.
func (l *link) SupportedGSO() stack.SupportedGSO {
	if l.whole {
		return stack.HostGSOSupported
	}
	return stack.GVisorGSOSupported
}

// ARPHardwareType implements stack.NetworkLinkEndpoint.
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// Close implements stack.NetworkLinkEndpoint; the guest closes the port.
func (l *link) Close() {}

// SetOnCloseAction implements stack.NetworkLinkEndpoint; nothing hangs on it.
func (l *link) SetOnCloseAction(func()) {}
