package netstack

import (
	"bytes"
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// maxRun is the longest IPv4 packet that inbound puts together.
const maxRun = 65535

// inbound collects consecutive TCP segments of one flow from one guest and hands
// them to the stack as one: the stack's cost is per packet, not per byte (what
// Linux calls generic receive offload). It keeps the slices that it is given
// until flush, which the switch calls at the end of every batch.
type inbound struct {
	link *endpoint
	run  [][]byte // IPv4 packets; the first with its header, the others behind it
	hlen int      // bytes of IPv4 and TCP header of the first
	size int      // of the packet that the run makes
	seq  uint32   // that the next segment must have
}

func (in *inbound) init(link *endpoint) {
	in.link = link
	in.run = make([][]byte, 0, maxBatch)
}

// add takes one IPv4 packet whose header was checked.
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
	in.seq = binary.BigEndian.Uint32(ip[header.IPv4MinimumSize+4:]) + uint32(len(ip)-hlen)
}

// mergeable returns the length of IPv4 and TCP header of a TCP segment that may
// be part of a run, or 0, and whether others may follow it in its run.
func mergeable(ip []byte) (hlen int, more bool) {
	const ipLen = header.IPv4MinimumSize
	if len(ip) < ipLen+header.TCPMinimumSize || ip[0] != 0x45 || ip[9] != uint8(header.TCPProtocolNumber) {
		return 0, false
	}
	if binary.BigEndian.Uint16(ip[6:8])&0x3fff != 0 { // a fragment
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
	if hlen == 0 || hlen != in.hlen || in.size+len(ip)-hlen > maxRun {
		return false
	}
	a, b := first[header.IPv4MinimumSize:in.hlen], ip[header.IPv4MinimumSize:hlen]
	return binary.BigEndian.Uint32(b[4:8]) == in.seq &&
		first[1] == ip[1] && first[8] == ip[8] && // TOS, TTL
		bytes.Equal(first[12:20], ip[12:20]) && // addresses
		bytes.Equal(a[0:4], b[0:4]) && // ports
		bytes.Equal(a[8:13], b[8:13]) && // acknowledgement, header length
		bytes.Equal(a[14:16], b[14:16]) && // window
		bytes.Equal(a[20:], b[20:]) // options
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
		b := view.AsSlice()
		binary.BigEndian.PutUint16(b[2:4], uint16(in.size))
		b[header.IPv4MinimumSize+13] |= last[header.IPv4MinimumSize+13] // PSH of the last
	}
	clear(in.run)
	in.run = in.run[:0]
	in.link.deliver(header.IPv4ProtocolNumber, buffer.MakeWithView(view))
}
