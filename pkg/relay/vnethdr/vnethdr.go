// Package vnethdr knows the header that virtio puts before an Ethernet frame: which
// checksum is still open, and in what segments the frame is to be cut before it goes
// over a wire (struct virtio_net_hdr; virtio 1.2, section 5.1.6, in the form that
// VIRTIO_F_VERSION_1 gives it: 12 bytes, little-endian).
//
//	offset  size  field
//	     0     1  flags: 1 the checksum is open, 2 it was found good
//	     1     1  gso type: 0 none, 1 TCP over IPv4, 4 TCP over IPv6; 0x80 with ECN
//	     2     2  header length: Ethernet, IP and TCP, a hint
//	     4     2  gso size: payload of a segment
//	     6     2  checksum start: from where on bytes are summed
//	     8     2  checksum offset: behind start, where the sum goes
//	    10     2  number of buffers
//
// It is the header of frames that go on with it; what cuts segments to frames for the tap
// of a container, and joins them, is internal/segments.
//
// A guest is not to be believed: what it says of a frame is compared with the frame
// ([Header.Check]) before anybody acts on it.
package vnethdr

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vmnet-cni/vmnet/internal/checksum"
)

// Len is the length of a header in bytes.
const Len = 12

// Bits of Header.Flags.
const (
	NeedsChecksum = 1 // the checksum at ChecksumStart+ChecksumOffset is open: it holds the pseudo header's sum
	DataValid     = 2 // the checksum was verified, or needs not be
)

// Values of Header.GSO. Those for UDP are left out: nobody is offered them.
const (
	GSONone = 0
	GSOTCP4 = 1
	GSOTCP6 = 4
	GSOECN  = 0x80 // a bit beside GSOTCP4 or GSOTCP6: the segments have ECN bits
)

// ErrMalformed is wrapped by the errors that say that a header cannot be that of
// its frame.
var ErrMalformed = errors.New("virtio-net header does not fit its frame")

// A Header is what stands before one frame. The zero value says that the frame is
// complete and whole.
type Header struct {
	Flags, GSO                    uint8
	HeaderLen                     uint16 // bytes, with GSO
	SegmentSize                   uint16 // bytes of TCP payload, with GSO
	ChecksumStart, ChecksumOffset uint16 // bytes, with NeedsChecksum
	Buffers                       uint16
}

// Parse returns the header at the start of b, which has at least Len bytes. Any
// bytes are one; Check says whether it makes sense.
func Parse(b []byte) Header {
	_ = b[Len-1]
	return Header{
		Flags: b[0], GSO: b[1],
		HeaderLen:      binary.LittleEndian.Uint16(b[2:]),
		SegmentSize:    binary.LittleEndian.Uint16(b[4:]),
		ChecksumStart:  binary.LittleEndian.Uint16(b[6:]),
		ChecksumOffset: binary.LittleEndian.Uint16(b[8:]),
		Buffers:        binary.LittleEndian.Uint16(b[10:]),
	}
}

// Put writes h to the start of b, which has at least Len bytes.
func (h *Header) Put(b []byte) {
	_ = b[Len-1]
	b[0], b[1] = h.Flags, h.GSO
	binary.LittleEndian.PutUint16(b[2:], h.HeaderLen)
	binary.LittleEndian.PutUint16(b[4:], h.SegmentSize)
	binary.LittleEndian.PutUint16(b[6:], h.ChecksumStart)
	binary.LittleEndian.PutUint16(b[8:], h.ChecksumOffset)
	binary.LittleEndian.PutUint16(b[10:], h.Buffers)
}

// Check compares h, as a guest sent it, with its frame, and leaves in it what may be
// passed on: flags that a guest has no say in are cleared (5.1.6.2.1), fields
// that mean nothing are zero, and HeaderLen, which is not to be relied on
// (5.1.6.2.2), is what the frame says. Its errors are a few, made once, so that a
// flood of bad frames costs no allocation; they wrap ErrMalformed.
func (h *Header) Check(frame []byte) error {
	h.Flags &= NeedsChecksum
	h.Buffers = 0
	if h.Flags == 0 {
		h.ChecksumStart, h.ChecksumOffset = 0, 0
	} else if at := int(h.ChecksumStart) + int(h.ChecksumOffset); h.ChecksumStart < etherLen || at+2 > len(frame) {
		return errChecksum
	}
	if h.GSO == GSONone {
		h.HeaderLen, h.SegmentSize = 0, 0
		return nil
	}
	return h.checkSegments(frame)
}

// checkSegments is Check for a frame that is to be cut.
func (h *Header) checkSegments(frame []byte) error {
	kind := h.GSO &^ GSOECN
	if kind != GSOTCP4 && kind != GSOTCP6 {
		return errKind
	}
	p, ok := parse(frame)
	switch {
	case !ok || p.proto != protoTCP || p.v6 != (kind == GSOTCP6):
		return errNotTCP
	case h.Flags&NeedsChecksum == 0 || int(h.ChecksumStart) != p.l4 || h.ChecksumOffset != tcpChecksum:
		return errOpen
	case h.SegmentSize == 0:
		return errSize
	}
	h.HeaderLen = uint16(p.payload)
	return nil
}

var (
	errChecksum = fmt.Errorf("%w: the checksum lies outside", ErrMalformed)
	errKind     = fmt.Errorf("%w: neither segments of TCP over IPv4 nor over IPv6", ErrMalformed)
	errNotTCP   = fmt.Errorf("%w: no TCP segment of that IP version", ErrMalformed)
	errOpen     = fmt.Errorf("%w: segments to be cut without TCP's open checksum", ErrMalformed)
	errSize     = fmt.Errorf("%w: segments of 0 bytes", ErrMalformed)
)

// Finish makes the checksum of frame that h says is open. h must have passed Check
// with that frame, or come from somebody who is to be believed; what lies outside of
// the frame is left alone. h says nothing true of the checksum any more.
func (h *Header) Finish(frame []byte) {
	start, at := int(h.ChecksumStart), int(h.ChecksumStart)+int(h.ChecksumOffset)
	if h.Flags&NeedsChecksum == 0 || at+2 > len(frame) {
		return
	}
	// To TCP both forms of zero are the same.
	binary.BigEndian.PutUint16(frame[at:], checksum.UDP(checksum.Add(0, frame[start:])))
}
