package relay

import (
	"bytes"
	"encoding/binary"
	"net"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// prefixLen is the length of the length before each frame of a stream, in bytes.
const prefixLen = 4

// Room of a Decoder in bytes: what it has at first, and what it grows to when
// reads fill it.
const (
	quietAhead = 16 << 10
	readAhead  = 128 << 10
)

// A Decoder takes a stream of length-prefixed frames apart. It does no input
// itself: read into Room, tell how much with Fill, take frames with Next until
// there is none.
//
//	n, err := conn.Read(d.Room())
//	d.Fill(n)
//	for frame, why, ok := d.Next(); ok; frame, why, ok = d.Next() { … }
type Decoder struct {
	max  int    // the largest frame that is passed on
	buf  []byte // holds the bytes [r, w) that are not decoded yet
	r, w int
	skip int  // bytes of a refused frame that are still to come
	dead bool // out of step
	full int  // how large buf may become
	grow bool // the last read filled buf

	seek    net.HardwareAddr // not nil: looking for the start of a frame from this MAC
	header  int              // bytes between length and frame
	skipped int              // bytes passed over since Resync
}

// NewDecoder returns a decoder for frames of at most maxFrame bytes.
func NewDecoder(maxFrame int) *Decoder {
	one := prefixLen + maxFrame
	return &Decoder{max: maxFrame, buf: make([]byte, max(quietAhead, one)), full: max(readAhead, 4*one)}
}

// Room returns where the next bytes of the stream go; it is never empty after
// Next returned ok == false. It makes the frames that Next returned invalid.
func (d *Decoder) Room() []byte {
	from := d.buf[d.r:d.w]
	if d.grow && len(d.buf) < d.full {
		d.buf = make([]byte, d.full)
		copy(d.buf, from)
	} else if d.r > 0 {
		copy(d.buf, from)
	}
	d.r, d.w = 0, len(from)
	return d.buf[d.w:]
}

// Fill says that n bytes were read into Room. A read that filled it makes the
// next Room larger, up to a bound.
func (d *Decoder) Fill(n int) {
	d.w += n
	d.grow = d.w == len(d.buf)
}

// Next returns the next frame, which is valid until Room is called. ok is false
// when more bytes are needed first. A frame that is refused comes as nil with
// the reason; after ReasonOutOfStep the stream has no meaning any more, and
// Next returns nothing else.
func (d *Decoder) Next() (frame []byte, why Reason, ok bool) {
	if d.dead {
		return nil, ReasonOutOfStep, true
	}
	if d.seek != nil && !d.find() {
		return nil, ReasonOutOfStep, d.dead
	}
	if d.skip > 0 {
		n := min(d.skip, d.w-d.r)
		d.skip -= n
		d.r += n
	}
	if d.w-d.r < prefixLen {
		return nil, ReasonNone, false
	}
	size := binary.BigEndian.Uint32(d.buf[d.r:])
	switch limit := max(MaxStreamFrame, d.max); {
	case uint64(size) > uint64(limit):
		d.dead = true
		return nil, ReasonOutOfStep, true
	case int(size) > d.max:
		d.refuse(int(size))
		return nil, ReasonTooBig, true
	case size < vmnet.HeaderLen:
		d.refuse(int(size))
		return nil, ReasonRunt, true
	}
	end := d.r + prefixLen + int(size)
	if end > d.w {
		return nil, ReasonNone, false
	}
	frame = d.buf[d.r+prefixLen : end : end]
	d.r = end
	return frame, ReasonNone, true
}

// refuse passes over a prefix and the size bytes after it, come or still to come.
func (d *Decoder) refuse(size int) {
	d.r += prefixLen
	d.skip = size
}

// maxSeek is how many bytes a decoder passes over before it gives a stream up.
const maxSeek = 1 << 20

// Resync says that the stream may begin in the middle of a frame, as one does
// whose reader died. The decoder passes over bytes until it sees a length that can
// be, a frame whose source is mac, and behind it, if it has come, another length
// that can be; after 1 MiB without, the stream is out of step. Frames of other
// sources before the first of mac are lost. It is to be called before Next. header is
// how many bytes are between each length and the Ethernet header.
func (d *Decoder) Resync(mac net.HardwareAddr, header int) { d.seek, d.header = mac, header }

// find looks for the start of a frame; false: more bytes are needed.
func (d *Decoder) find() bool {
	head := prefixLen + d.header + 12 // up to the end of the source
	for ; d.w-d.r >= head; d.r++ {
		if bytes.Equal(d.buf[d.r+head-6:d.r+head], d.seek) && d.plausible(d.r) {
			d.seek = nil
			return true
		}
		d.skipped++
	}
	d.dead = d.skipped > maxSeek
	return false
}

// plausible reports whether a frame can begin at byte at.
func (d *Decoder) plausible(at int) bool {
	size := int64(binary.BigEndian.Uint32(d.buf[at:]))
	if size < vmnet.HeaderLen || size > int64(d.max) {
		return false
	}
	next := at + prefixLen + int(size)
	if next+prefixLen > d.w {
		return true
	}
	size = int64(binary.BigEndian.Uint32(d.buf[next:]))
	return size <= int64(max(MaxStreamFrame, d.max))
}
