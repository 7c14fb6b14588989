package bsd

import "fmt"

// A RouteMsg is struct rt_msghdr (net/route.h) with its addresses: a route or a
// neighbour that is asked for, listed or changed.
type RouteMsg struct {
	Type  uint8  // RtmAdd, RtmDelete, RtmChange, RtmGet or RtmResolve
	Index uint16 // of the interface
	Flags uint32 // Rtf…
	Pid   int32
	Seq   int32
	Errno int32
	Use   int32
	Inits uint32 // Rtv…: which metrics are to be set

	Metrics Metrics

	Dst, Gateway, Ifp, Ifa, Brd Sockaddr
	Mask                        Mask // of Dst
}

// Metrics is struct rt_metrics (net/route.h), as far as it has a use.
type Metrics struct {
	Locks, MTU, HopCount           uint32
	Expire                         int32 // seconds, 0: never
	RecvPipe, SendPipe             uint32
	Ssthresh, RTT, RTTVar, Packets uint32
}

// sizeofRt is the size of struct rt_msghdr.
const sizeofRt = 92

func (m *RouteMsg) addrs() addrs {
	return addrs{
		dst: &m.Dst, gateway: &m.Gateway, ifp: &m.Ifp, ifa: &m.Ifa, brd: &m.Brd,
		mask: &m.Mask, family: func() uint8 { return m.Dst.Family },
	}
}

// Marshal returns the message in bytes.
func (m *RouteMsg) Marshal() ([]byte, error) {
	b, bits, err := m.addrs().appendTo(make([]byte, sizeofRt))
	if err != nil {
		return nil, fmt.Errorf("marshal routing message: %w", err)
	}
	le.PutUint16(b[4:], m.Index)
	le.PutUint32(b[8:], m.Flags)
	le.PutUint32(b[12:], bits)
	le.PutUint32(b[16:], uint32(m.Pid))
	le.PutUint32(b[20:], uint32(m.Seq))
	le.PutUint32(b[24:], uint32(m.Errno))
	le.PutUint32(b[28:], uint32(m.Use))
	le.PutUint32(b[32:], m.Inits)
	x := m.Metrics
	for i, v := range []uint32{x.Locks, x.MTU, x.HopCount, uint32(x.Expire), x.RecvPipe, x.SendPipe, x.Ssthresh, x.RTT, x.RTTVar, x.Packets} {
		le.PutUint32(b[36+4*i:], v)
	}
	return seal(b, m.Type)
}

func (m *RouteMsg) parse(b []byte) error {
	if len(b) < sizeofRt {
		return fmt.Errorf("rt_msghdr of %d bytes: %w", len(b), ErrShort)
	}
	*m = RouteMsg{
		Type: b[3], Index: le.Uint16(b[4:]), Flags: le.Uint32(b[8:]),
		Pid: int32(le.Uint32(b[16:])), Seq: int32(le.Uint32(b[20:])),
		Errno: int32(le.Uint32(b[24:])), Use: int32(le.Uint32(b[28:])), Inits: le.Uint32(b[32:]),
	}
	at := func(i int) uint32 { return le.Uint32(b[36+4*i:]) }
	m.Metrics = Metrics{
		Locks: at(0), MTU: at(1), HopCount: at(2), Expire: int32(at(3)), RecvPipe: at(4), SendPipe: at(5),
		Ssthresh: at(6), RTT: at(7), RTTVar: at(8), Packets: at(9),
	}
	return m.addrs().parse(b[sizeofRt:], le.Uint32(b[12:]))
}
