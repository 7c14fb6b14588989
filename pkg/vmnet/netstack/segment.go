package netstack

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// writeSegments cuts a TCP packet that is longer than its MSS into frames, as a
// network card with segmentation offload does, and sends them in batches.
func (e *endpoint) writeSegments(dst macKey, eth *[vmnet.HeaderLen]byte, pkt *stack.PacketBuffer) {
	var hdr [vmnet.HeaderLen + 120]byte // Ethernet, IP and TCP header, with all options
	ipLen, tcpLen := len(pkt.NetworkHeader().Slice()), len(pkt.TransportHeader().Slice())
	hlen := vmnet.HeaderLen + ipLen + tcpLen
	copy(hdr[:], eth[:])
	copy(hdr[vmnet.HeaderLen:], pkt.NetworkHeader().Slice())
	copy(hdr[vmnet.HeaderLen+ipLen:], pkt.TransportHeader().Slice())

	var (
		batch [maxBatch]*frame
		n     int
		data  = payloadOf(pkt)
		left  = pkt.Data().Size()
		mss   = int(pkt.GSOOptions.MSS)
	)
	for i := 0; left > 0; i++ {
		size := min(left, mss)
		left -= size
		f := e.fabric.pool.get(hlen + size)
		copy(f.buf, hdr[:hlen])
		data.read(f.buf[hlen : hlen+size])
		patchSegment(f.bytes()[vmnet.HeaderLen:], ipLen, i, i*mss, left > 0)
		batch[n] = f
		if n++; n == len(batch) || left == 0 {
			e.fabric.output(dst, batch[:n])
			n = 0
		}
	}
}

// patchSegment makes the headers of segment i, whose payload begins at offset,
// true. more says that others follow.
func patchSegment(ip []byte, ipLen, i, offset int, more bool) {
	if ip[0]>>4 == 6 {
		header.IPv6(ip).SetPayloadLength(uint16(len(ip) - header.IPv6MinimumSize))
	} else {
		h := header.IPv4(ip)
		h.SetTotalLength(uint16(len(ip)))
		h.SetID(h.ID() + uint16(i))
		h.SetChecksum(0)
		h.SetChecksum(^h.CalculateChecksum())
	}
	t := header.TCP(ip[ipLen:])
	binary.BigEndian.PutUint32(t[4:8], t.SequenceNumber()+uint32(offset))
	if more {
		// RFC 9293: what ends the whole ends the last segment.
		t.SetFlags(uint8(t.Flags() &^ (header.TCPFlagFin | header.TCPFlagPsh)))
	}
	finishTCP(ip, ipLen)
}

// finishTCP sets the checksum of the TCP segment behind the ipLen bytes of an IP
// header.
func finishTCP(ip []byte, ipLen int) {
	var h header.Network = header.IPv4(ip)
	if ip[0]>>4 == 6 {
		h = header.IPv6(ip)
	}
	t := header.TCP(ip[ipLen:])
	t.SetChecksum(0)
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, h.SourceAddress(), h.DestinationAddress(), uint16(len(t)))
	t.SetChecksum(^checksum.Checksum(t, sum))
}

// A pieces reads bytes that lie in several slices.
type pieces struct{ rest [][]byte }

// payloadOf returns the bytes of pkt behind its headers.
func payloadOf(pkt *stack.PacketBuffer) pieces {
	all := pkt.AsSlices()
	for skip := pkt.HeaderSize(); skip > 0; {
		if n := len(all[0]); n <= skip {
			skip -= n
			all = all[1:]
			continue
		}
		all[0] = all[0][skip:]
		skip = 0
	}
	return pieces{all}
}

// read fills b.
func (s *pieces) read(b []byte) {
	for len(b) > 0 && len(s.rest) > 0 {
		n := copy(b, s.rest[0])
		b = b[n:]
		if n == len(s.rest[0]) {
			s.rest = s.rest[1:]
		} else {
			s.rest[0] = s.rest[0][n:]
		}
	}
}
