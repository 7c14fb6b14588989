package vnethdr_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/relay/vnethdr"
)

// frame returns a frame of proto with payload bytes behind its header and a true
// checksum.
func frame(v6 bool, proto byte, payload int) []byte {
	l4 := map[byte]int{6: 20, 17: 8}[proto] + payload
	ip := 20
	if v6 {
		ip = 40
	}
	f := make([]byte, 14+ip+l4)
	r := rand.New(rand.NewPCG(uint64(payload), uint64(proto)))
	for i := range f {
		f[i] = byte(r.Uint32())
	}
	if v6 {
		binary.BigEndian.PutUint16(f[12:], 0x86dd)
		f[14], f[20] = 0x60, proto
		binary.BigEndian.PutUint16(f[18:], uint16(l4))
	} else {
		binary.BigEndian.PutUint16(f[12:], 0x0800)
		f[14], f[20], f[21], f[23] = 0x45, 0, 0, proto
		binary.BigEndian.PutUint16(f[16:], uint16(ip+l4))
	}
	if proto == 6 {
		f[14+ip+12] = 5 << 4
	}
	at := sumAt(f)
	f[at], f[at+1] = 0, 0
	binary.BigEndian.PutUint16(f[at:], ^slowSum(f))
	return f
}

func l4Of(f []byte) (start int, proto byte) {
	if binary.BigEndian.Uint16(f[12:]) == 0x86dd {
		return 54, f[20]
	}
	return 34, f[23]
}

func sumAt(f []byte) int {
	start, proto := l4Of(f)
	return start + map[byte]int{6: 16, 17: 6}[proto]
}

// slowSum is the sum of TCP or UDP with its pseudo header, two bytes at a time: it is
// 0xffff where the checksum is true.
func slowSum(f []byte) uint16 {
	start, proto := l4Of(f)
	addrs := f[26:34]
	if start == 54 {
		addrs = f[22:54]
	}
	sum := uint32(proto) + uint32(len(f)-start)
	for _, b := range [][]byte{addrs, f[start:]} {
		for i := range b {
			sum += uint32(b[i]) << (8 * (1 - i%2))
			sum = sum>>16 + sum&0xffff
		}
	}
	return uint16(sum)
}

func summed(f []byte) bool { return slowSum(f) == 0xffff }

// TestDescribe has a frame without a header get one, and lose it again: what is sent
// to a receiver that knows no header is what came.
func TestDescribe(t *testing.T) {
	for _, c := range []struct {
		name    string
		v6      bool
		proto   byte
		payload int
		open    bool
		want    vnethdr.Header
	}{
		{"small tcp", false, 6, 100, false, vnethdr.Header{}},
		{"small tcp, open", false, 6, 100, true, vnethdr.Header{Flags: 1, ChecksumStart: 34, ChecksumOffset: 16}},
		{"segment of the mtu", false, 6, 1460, false, vnethdr.Header{}},
		{"tcp4", false, 6, 1461, false, vnethdr.Header{Flags: 1, GSO: 1, HeaderLen: 54, SegmentSize: 1460, ChecksumStart: 34, ChecksumOffset: 16}},
		{"tcp4, the largest", false, 6, 65495, false, vnethdr.Header{Flags: 1, GSO: 1, HeaderLen: 54, SegmentSize: 1460, ChecksumStart: 34, ChecksumOffset: 16}},
		{"tcp6", true, 6, 60001, false, vnethdr.Header{Flags: 1, GSO: 4, HeaderLen: 74, SegmentSize: 1440, ChecksumStart: 54, ChecksumOffset: 16}},
		{"udp", false, 17, 9000, false, vnethdr.Header{}},
		{"udp, open", true, 17, 300, true, vnethdr.Header{Flags: 1, ChecksumStart: 54, ChecksumOffset: 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole := frame(c.v6, c.proto, c.payload)
			f := bytes.Clone(whole)
			if !summed(whole) {
				t.Fatal("the test's own checksum")
			}
			h := vnethdr.Describe(f, 1500, c.open)
			if h != c.want {
				t.Fatalf("header %+v, want %+v", h, c.want)
			}
			if open := h.Flags&vnethdr.NeedsChecksum != 0; open == summed(f) {
				t.Errorf("checksum true %t with flags %d", summed(f), h.Flags)
			}
			if err := h.Check(f); err != nil || h != c.want {
				t.Errorf("%v, %+v", err, h)
			}
			var b [vnethdr.Len]byte
			h.Put(b[:])
			if again := vnethdr.Parse(b[:]); again != h {
				t.Errorf("%+v, want %+v", again, h)
			}
			if h.Finish(f); !bytes.Equal(f, whole) {
				t.Error("not the frame that it was")
			}
		})
	}
}

// TestDescribeLeaves passes what must stay as it is.
func TestDescribeLeaves(t *testing.T) {
	fragment := frame(false, 6, 3000)
	fragment[20] = 0x20
	long := frame(false, 6, 3000)
	binary.BigEndian.PutUint16(long[16:], 60000)
	none := frame(false, 17, 100)
	none[40], none[41] = 0, 0
	for name, f := range map[string][]byte{
		"arp": append(make([]byte, 12), 8, 6, 0, 1), "nothing": nil, "fragment": fragment, "longer than it is": long,
		"udp without checksum": none, "icmp": append(frame(false, 6, 2000)[:23], make([]byte, 2000)...),
	} {
		was := bytes.Clone(f)
		if h := vnethdr.Describe(f, 1500, true); h != (vnethdr.Header{}) || !bytes.Equal(f, was) {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

// TestCheck has guests lie.
func TestCheck(t *testing.T) {
	good := vnethdr.Header{Flags: 1, GSO: 1, HeaderLen: 54, SegmentSize: 1448, ChecksumStart: 34, ChecksumOffset: 16}
	for _, c := range []struct {
		name string
		fn   func(h *vnethdr.Header)
		ok   bool
	}{
		{"good", func(*vnethdr.Header) {}, true},
		{"ecn", func(h *vnethdr.Header) { h.GSO |= vnethdr.GSOECN }, true},
		{"header length", func(h *vnethdr.Header) { h.HeaderLen = 65535 }, true},
		{"valid bit", func(h *vnethdr.Header) { h.Flags |= vnethdr.DataValid | 0xf0; h.Buffers = 77 }, true},
		{"no checksum", func(h *vnethdr.Header) { h.Flags = 0 }, false},
		{"checksum outside", func(h *vnethdr.Header) { h.ChecksumStart = 65000 }, false},
		{"checksum overflow", func(h *vnethdr.Header) { h.ChecksumStart, h.ChecksumOffset = 65535, 65535 }, false},
		{"checksum in the Ethernet header", func(h *vnethdr.Header) { h.ChecksumStart = 0 }, false},
		{"checksum elsewhere", func(h *vnethdr.Header) { h.ChecksumOffset = 6 }, false},
		{"segment size", func(h *vnethdr.Header) { h.SegmentSize = 0 }, false},
		{"ip version", func(h *vnethdr.Header) { h.GSO = vnethdr.GSOTCP6 }, false},
		{"udp", func(h *vnethdr.Header) { h.GSO = 3 }, false},
		{"ecn alone", func(h *vnethdr.Header) { h.GSO = vnethdr.GSOECN }, false},
	} {
		h := good
		c.fn(&h)
		err := h.Check(frame(false, 6, 20000))
		if c.ok != (err == nil) || err != nil && !errors.Is(err, vnethdr.ErrMalformed) {
			t.Errorf("%s: %v", c.name, err)
		}
		if want := good; err == nil && (h.HeaderLen != want.HeaderLen || h.Flags != want.Flags || h.Buffers != 0) {
			t.Errorf("%s: %+v", c.name, h)
		}
	}
	plain := vnethdr.Header{HeaderLen: 9, SegmentSize: 9, ChecksumStart: 9, ChecksumOffset: 9}
	if err := plain.Check(make([]byte, 14)); err != nil || plain != (vnethdr.Header{}) {
		t.Errorf("%v, %+v", err, plain)
	}
}

// TestAllocations has a frame cost none.
func TestAllocations(t *testing.T) {
	f, bad := frame(false, 6, 60000), vnethdr.Header{GSO: 3}
	var b [vnethdr.Len]byte
	if n := testing.AllocsPerRun(100, func() {
		h := vnethdr.Describe(f, 1500, true)
		h.Put(b[:])
		h = vnethdr.Parse(b[:])
		_ = h.Check(f)
		h.Finish(f)
		_ = bad.Check(f)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzHeader has any bytes be a header and a frame: nothing panics, nothing outside
// is touched, and what passes Check and is finished has a true checksum where it is
// TCP or UDP.
func FuzzHeader(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		for _, proto := range []byte{6, 17} {
			b := frame(v6, proto, 2000)
			h := vnethdr.Describe(b, 1500, true)
			var head [vnethdr.Len]byte
			h.Put(head[:])
			f.Add(append(head[:], b...), 1500)
		}
	}
	f.Add(make([]byte, 26), 0)
	f.Add(bytes.Repeat([]byte{0xff}, 100), -1)
	f.Fuzz(func(t *testing.T, msg []byte, mtu int) {
		if len(msg) < vnethdr.Len {
			return
		}
		h, b := vnethdr.Parse(msg), bytes.Clone(msg[vnethdr.Len:])
		if h.Check(b) == nil {
			if again := h; again.Check(b) != nil || again != h {
				t.Errorf("%+v, checked again %+v", h, again)
			}
		}
		h.Finish(b)
		b = bytes.Clone(msg[vnethdr.Len:])
		h = vnethdr.Describe(b, mtu, true)
		if h == (vnethdr.Header{}) && !bytes.Equal(b, msg[vnethdr.Len:]) {
			t.Error("changed without a word")
		}
		checked := h
		if err := checked.Check(b); err != nil || h.GSO != 0 && checked != h {
			t.Errorf("described %+v: %v, %+v", h, err, checked)
		}
		h.Finish(b)
	})
}

func BenchmarkFinish(b *testing.B) {
	f := frame(false, 6, 60000)
	h := vnethdr.Describe(f, 1500, true)
	b.SetBytes(int64(len(f)))
	for b.Loop() {
		h.Finish(f)
	}
}
