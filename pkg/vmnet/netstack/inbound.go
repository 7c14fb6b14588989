package netstack

import (
	"bytes"
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// maxRun is the longest IP packet that inbound puts together.
const maxRun = 65535

// inbound collects consecutive TCP segments of one flow from one guest and hands
// them to the stack as one: the stack's cost is per packet, not per byte (what
// Linux calls generic receive offload). It keeps the slices that it is given
// until flush, which the switch calls at the end of every batch.
type inbound struct {
	link *endpoint
	run  [][]byte // IP packets; the first with its header, the others behind it
	hlen int      // bytes of IP and TCP header of the first
	size int      // of the packet that the run makes
	seq  uint32   // that the next segment must have
}

func (in *inbound) init(link *endpoint) {
	in.link = link
	in.run = make([][]byte, 0, maxBatch)
}

// add takes one IPv4 or IPv6 packet whose header was checked.
func (in *inbound) add(ip []byte) {
	hlen, more := mergeable(ip)
	if len(in.run) > 0 && !in.continues(ip, hlen) {
		in.flush()
	}
	in.run = append(in.run, ip)
	if len(in.run) == 1 {
		in.hlen, in.size = hlen, len(ip)
	} else {
		in.size += len(ip) - hlen
	}
	if !more || len(in.run) == cap(in.run) {
		in.flush()
		return
	}
	in.seq = binary.BigEndian.Uint32(ip[ipLenOf(ip)+4:]) + uint32(len(ip)-hlen)
}

// ipLenOf returns the length of the IP header, without options or extensions.
func ipLenOf(ip []byte) int {
	if ip[0]>>4 == 6 {
		return header.IPv6MinimumSize
	}
	return header.IPv4MinimumSize
}

// mergeable returns the length of IP and TCP header of a TCP segment that may be
// part of a run, or 0, and whether others may follow it in its run.
func mergeable(ip []byte) (hlen int, more bool) {
	ipLen := ipLenOf(ip)
	if len(ip) < ipLen+header.TCPMinimumSize {
		return 0, false
	}
	if ip[0]>>4 == 6 {
		if ip[6] != uint8(header.TCPProtocolNumber) {
			return 0, false
		}
	} else if ip[0] != 0x45 || ip[9] != uint8(header.TCPProtocolNumber) || binary.BigEndian.Uint16(ip[6:8])&0x3fff != 0 { // the last: a fragment
		return 0, false
	}
	t := header.TCP(ip[ipLen:])
	off := int(t.DataOffset())
	if off < header.TCPMinimumSize || len(t) <= off {
		return 0, false
	}
	flags := t.Flags()
	if flags&^(header.TCPFlagAck|header.TCPFlagPsh) != 0 || flags&header.TCPFlagAck == 0 {
		return 0, false
	}
	return ipLen + off, flags&header.TCPFlagPsh == 0
}

// continues reports whether ip is the next segment of the run.
func (in *inbound) continues(ip []byte, hlen int) bool {
	first := in.run[0]
	if hlen == 0 || hlen != in.hlen || first[0] != ip[0] || in.size+len(ip)-hlen > maxRun {
		return false
	}
	ipLen := ipLenOf(ip)
	a, b := first[ipLen:in.hlen], ip[ipLen:hlen]
	return binary.BigEndian.Uint32(b[4:8]) == in.seq && sameIP(first, ip) &&
		bytes.Equal(a[0:4], b[0:4]) && // ports
		bytes.Equal(a[8:13], b[8:13]) && // acknowledgement, header length
		bytes.Equal(a[14:16], b[14:16]) && // window
		bytes.Equal(a[20:], b[20:]) // options
}

// sameIP reports whether the IP headers of two segments are those of one flow.
func sameIP(a, b []byte) bool {
	if a[0]>>4 == 6 {
		return bytes.Equal(a[:4], b[:4]) && a[7] == b[7] && // traffic class, flow label; hop limit
			bytes.Equal(a[8:40], b[8:40]) // addresses
	}
	return a[1] == b[1] && a[8] == b[8] && // TOS, TTL
		bytes.Equal(a[12:20], b[12:20]) // addresses
}

// flush hands the run to the stack.
func (in *inbound) flush() {
	if len(in.run) == 0 {
		return
	}
	view := buffer.NewView(in.size)
	_, _ = view.Write(in.run[0]) // a View grows and never fails
	last := in.run[len(in.run)-1]
	for _, ip := range in.run[1:] {
		_, _ = view.Write(ip[in.hlen:])
	}
	if len(in.run) > 1 {
		b, ipLen := view.AsSlice(), ipLenOf(last)
		if ipLen == header.IPv6MinimumSize {
			binary.BigEndian.PutUint16(b[4:6], uint16(in.size-ipLen))
		} else {
			binary.BigEndian.PutUint16(b[2:4], uint16(in.size))
		}
		b[ipLen+13] |= last[ipLen+13] // PSH of the last
	}
	proto := header.IPv4ProtocolNumber
	if last[0]>>4 == 6 {
		proto = header.IPv6ProtocolNumber
	}
	clear(in.run)
	in.run = in.run[:0]
	in.link.deliver(proto, buffer.MakeWithView(view))
}
