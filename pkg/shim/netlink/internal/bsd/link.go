package bsd

import "fmt"

// A LinkMsg tells of an interface: struct if_msghdr2 with if_data64 (net/if.h,
// net/if_var.h) for RtmIfinfo2, which lists have, and struct if_msghdr with the
// 32-bit if_data for RtmIfinfo, which the routing socket sends.
type LinkMsg struct {
	Type  uint8  // RtmIfinfo2 or RtmIfinfo
	Flags uint32 // Iff…
	Index uint16
	QLen  int32 // the longest send queue; RtmIfinfo2 alone
	Data  LinkData
	Ifp   Sockaddr // the name and the hardware address
}

// LinkData is what an interface counts, and some of its properties.
type LinkData struct {
	IfType uint8 // Ift…
	MTU    uint32
	Baud   uint64 // bits per second

	RxPackets, RxErrors, TxPackets, TxErrors, Collisions uint64
	RxBytes, TxBytes, RxMulticast, TxMulticast           uint64
	RxDropped, NoProto                                   uint64
}

// Sizes of the headers, and where their data begin.
const (
	sizeofIf  = 112
	sizeofIf2 = 160
	ifData    = 16
	ifData2   = 32
)

// counters returns the fields that follow ifi_metric, in order.
func (d *LinkData) counters() []*uint64 {
	return []*uint64{
		&d.Baud, &d.RxPackets, &d.RxErrors, &d.TxPackets, &d.TxErrors, &d.Collisions,
		&d.RxBytes, &d.TxBytes, &d.RxMulticast, &d.TxMulticast, &d.RxDropped, &d.NoProto,
	}
}

// Marshal returns the message in bytes. Counters that do not fit 32 bits are
// truncated in an RtmIfinfo, as the kernel does it.
func (m *LinkMsg) Marshal() ([]byte, error) {
	size, data := sizeofIf, ifData
	if m.Type == RtmIfinfo2 {
		size, data = sizeofIf2, ifData2
	}
	b, bits, err := addrs{ifp: &m.Ifp}.appendTo(make([]byte, size))
	if err != nil {
		return nil, fmt.Errorf("marshal interface message: %w", err)
	}
	le.PutUint32(b[4:], bits)
	le.PutUint32(b[8:], m.Flags)
	le.PutUint16(b[12:], m.Index)
	d := b[data:]
	d[0] = m.Data.IfType
	le.PutUint32(d[8:], m.Data.MTU)
	for i, c := range m.Data.counters() {
		if m.Type == RtmIfinfo2 {
			le.PutUint64(d[16+8*i:], *c)
		} else {
			le.PutUint32(d[16+4*i:], uint32(*c))
		}
	}
	if m.Type == RtmIfinfo2 {
		le.PutUint32(b[20:], uint32(m.QLen))
	}
	return seal(b, m.Type)
}

func (m *LinkMsg) parse(b []byte) error {
	size, data := sizeofIf, ifData
	if b[3] == RtmIfinfo2 {
		size, data = sizeofIf2, ifData2
	}
	if len(b) < size {
		return fmt.Errorf("if_msghdr of %d bytes: %w", len(b), ErrShort)
	}
	*m = LinkMsg{Type: b[3], Flags: le.Uint32(b[8:]), Index: le.Uint16(b[12:])}
	d := b[data:]
	m.Data.IfType, m.Data.MTU = d[0], le.Uint32(d[8:])
	for i, c := range m.Data.counters() {
		if m.Type == RtmIfinfo2 {
			*c = le.Uint64(d[16+8*i:])
		} else {
			*c = uint64(le.Uint32(d[16+4*i:]))
		}
	}
	if m.Type == RtmIfinfo2 {
		m.QLen = int32(le.Uint32(b[20:]))
	}
	return addrs{ifp: &m.Ifp}.parse(b[size:], le.Uint32(b[4:]))
}

// An AddrMsg is struct ifa_msghdr (net/if.h): an address of an interface.
type AddrMsg struct {
	Type   uint8 // RtmNewAddr or RtmDelAddr
	Flags  uint32
	Index  uint16 // of the interface
	Metric int32

	Ifp  Sockaddr
	Ifa  Sockaddr // the address
	Mask Mask     // of Ifa
	Brd  Sockaddr // the broadcast address, or the other end of a point-to-point link
}

// sizeofIfa is the size of struct ifa_msghdr.
const sizeofIfa = 20

func (m *AddrMsg) addrs() addrs {
	return addrs{
		ifp: &m.Ifp, ifa: &m.Ifa, brd: &m.Brd,
		mask: &m.Mask, family: func() uint8 { return m.Ifa.Family },
	}
}

// Marshal returns the message in bytes.
func (m *AddrMsg) Marshal() ([]byte, error) {
	b, bits, err := m.addrs().appendTo(make([]byte, sizeofIfa))
	if err != nil {
		return nil, fmt.Errorf("marshal address message: %w", err)
	}
	le.PutUint32(b[4:], bits)
	le.PutUint32(b[8:], m.Flags)
	le.PutUint16(b[12:], m.Index)
	le.PutUint32(b[16:], uint32(m.Metric))
	return seal(b, m.Type)
}

func (m *AddrMsg) parse(b []byte) error {
	if len(b) < sizeofIfa {
		return fmt.Errorf("ifa_msghdr of %d bytes: %w", len(b), ErrShort)
	}
	*m = AddrMsg{Type: b[3], Flags: le.Uint32(b[8:]), Index: le.Uint16(b[12:]), Metric: int32(le.Uint32(b[16:]))}
	return m.addrs().parse(b[sizeofIfa:], le.Uint32(b[4:]))
}
