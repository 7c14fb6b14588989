package segments_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/segments"
)

const frameMax = 1514

// A flow makes the frames of a TCP connection.
type flow struct {
	six     bool
	options int // bytes, a multiple of 4
	seq     uint32
	id      uint16
	frag    uint16 // flags and offset of IPv4
}

// frame returns the next frame, with size bytes of payload and flags.
func (f *flow) frame(size int, flags byte) []byte {
	ipLen := 20
	if f.six {
		ipLen = 40
	}
	headers := 14 + ipLen + 20 + f.options
	b := make([]byte, headers+size)
	copy(b, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02")
	be := binary.BigEndian
	ip, tcp := b[14:], b[14+ipLen:]
	if f.six {
		be.PutUint16(b[12:], 0x86dd)
		ip[0], ip[6], ip[7] = 0x60, 6, 64
		be.PutUint16(ip[4:], uint16(len(tcp)))
		ip[8], ip[23], ip[24], ip[39] = 0xfd, 1, 0xfd, 2
	} else {
		be.PutUint16(b[12:], 0x0800)
		ip[0], ip[8], ip[9] = 0x45, 64, 6
		be.PutUint16(ip[2:], uint16(len(ip)))
		be.PutUint16(ip[4:], f.id)
		be.PutUint16(ip[6:], f.frag)
		copy(ip[12:], "\x0a\x00\x00\x01\x0a\x00\x00\x02")
		be.PutUint16(ip[10:], ^slowSum(ip[:20]))
	}
	be.PutUint16(tcp, 1000)
	be.PutUint16(tcp[2:], 2000)
	be.PutUint32(tcp[4:], f.seq)
	be.PutUint32(tcp[8:], 77)
	tcp[12], tcp[13] = byte(20+f.options)/4<<4, flags
	be.PutUint16(tcp[14:], 500)
	for i := range f.options {
		tcp[20+i] = byte(i)
	}
	for i := range tcp[20+f.options:] {
		tcp[20+f.options+i] = byte(rand.IntN(256))
	}
	be.PutUint16(tcp[16:], ^slowSum(tcpAndPseudo(ip, tcp)))
	f.seq += uint32(size)
	f.id++
	return b
}

func tcpAndPseudo(ip, tcp []byte) []byte {
	addrs := ip[12:20]
	if ip[0]>>4 == 6 {
		addrs = ip[8:40]
	}
	b := append(append([]byte(nil), addrs...), 0, 0, byte(len(tcp)>>8), byte(len(tcp)), 0, 0, 0, 6)
	return append(b, tcp...)
}

// slowSum is RFC 1071 as it stands there.
func slowSum(b []byte) uint16 {
	var sum uint32
	for i, c := range b {
		if i%2 == 0 {
			sum += uint32(c) << 8
		} else {
			sum += uint32(c)
		}
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// packet puts together what a Joiner said belongs together.
func packet(j *segments.Joiner, frames [][]byte) []byte {
	b := append([]byte(nil), j.Head()...)
	for _, f := range frames {
		b = append(b, f[j.Skip():]...)
	}
	return b
}

// cut returns the frames of a packet.
func cut(t testing.TB, p []byte) (frames [][]byte) {
	t.Helper()
	var c segments.Cutter
	if err := c.Start(p, frameMax); err != nil {
		t.Fatal(err)
	}
	for {
		buf := make([]byte, frameMax)
		n, ok := c.Next(buf)
		if !ok {
			return frames
		}
		frames = append(frames, buf[:n])
	}
}

// What is put together and cut again is what it was, byte by byte.
func TestJoinAndCut(t *testing.T) {
	const ack, push = 0x10, 0x18
	for _, six := range []bool{false, true} {
		for _, options := range []int{0, 12} {
			for n := 1; n <= 64; n++ {
				f := &flow{six: six, options: options, seq: 0xffff0000, id: 65530}
				full := frameMax - 54 - options
				if six {
					full -= 20
				}
				var frames [][]byte
				for range n - 1 {
					frames = append(frames, f.frame(full, ack))
				}
				frames = append(frames, f.frame(1+rand.IntN(full), push))
				var got [][]byte
				var j segments.Joiner
				packets := 0
				for rest := frames; len(rest) > 0; packets++ {
					k := j.Join(rest)
					got = append(got, cut(t, packet(&j, rest[:k]))...)
					rest = rest[k:]
				}
				if want := 1 + n*full/65535; packets > want {
					t.Errorf("%d frames, IPv6 %t, %d bytes of options: %d packets, want %d", n, six, options, packets, want)
				}
				if len(got) != n {
					t.Fatalf("%d frames, want %d", len(got), n)
				}
				for i := range got {
					if !bytes.Equal(got[i], frames[i]) {
						t.Fatalf("frame %d of %d, IPv6 %t: %x, want %x", i, n, six, got[i][:80], frames[i][:80])
					}
				}
			}
		}
	}
}

// What does not belong together stays apart.
func TestJoinRefuses(t *testing.T) {
	const ack = 0x10
	tests := map[string]func(frames [][]byte, f *flow){
		"data is missing":       func(frames [][]byte, f *flow) { f.seq++; frames[1] = f.frame(100, ack) },
		"a damaged payload":     func(frames [][]byte, _ *flow) { frames[1][90] ^= 1 },
		"a damaged first frame": func(frames [][]byte, _ *flow) { frames[0][90] ^= 1 },
		"a damaged IP header":   func(frames [][]byte, _ *flow) { frames[1][14+10] ^= 1 },
		"a larger one":          func(frames [][]byte, _ *flow) { frames[1] = (&flow{seq: 100, id: 1}).frame(101, ack) },
		"another window":        func(frames [][]byte, _ *flow) { frames[1][14+20+15]++ },
		"another destination":   func(frames [][]byte, _ *flow) { frames[1][5]++ },
		"another address":       func(frames [][]byte, _ *flow) { frames[1][14+15]++ },
		"a push in the first":   func(frames [][]byte, _ *flow) { frames[0] = (&flow{}).frame(100, 0x18) },
		"a FIN":                 func(frames [][]byte, _ *flow) { frames[1] = (&flow{seq: 100, id: 1}).frame(100, 0x11) },
		"no data":               func(frames [][]byte, _ *flow) { frames[1] = (&flow{seq: 100, id: 1}).frame(0, ack) },
		"a fragment":            func(frames [][]byte, _ *flow) { frames[1] = (&flow{seq: 100, id: 1, frag: 0x2000}).frame(100, ack) },
		"padding":               func(frames [][]byte, _ *flow) { frames[1] = append(frames[1], 0) },
		"a jump of the number":  func(frames [][]byte, _ *flow) { frames[1] = (&flow{seq: 100, id: 7}).frame(100, ack) },
		"not IP":                func(frames [][]byte, _ *flow) { frames[0][12], frames[0][13] = 8, 6 },
		"a runt":                func(frames [][]byte, _ *flow) { frames[1] = frames[1][:13] },
	}
	for name, spoil := range tests {
		f := &flow{}
		frames := [][]byte{f.frame(100, ack), f.frame(100, ack)}
		spoil(frames, f)
		var j segments.Joiner
		if n := j.Join(frames); n != 1 || j.Skip() != 0 || !bytes.Equal(j.Head(), make([]byte, segments.Len)) {
			t.Errorf("%s: %d frames joined", name, n)
		}
	}
	var j segments.Joiner
	f := &flow{frag: 0x4000}
	a := f.frame(100, ack)
	f.id = 99 // means nothing with DF
	if n := j.Join([][]byte{a, f.frame(100, ack)}); n != 2 {
		t.Errorf("with DF: %d joined", n)
	}
}

// header returns a virtio-net header with f behind it.
func header(flags, gso byte, size, start, offset uint16, f []byte) []byte {
	b := make([]byte, segments.Len, segments.Len+len(f))
	b[0], b[1] = flags, gso
	binary.NativeEndian.PutUint16(b[4:], size)
	binary.NativeEndian.PutUint16(b[6:], start)
	binary.NativeEndian.PutUint16(b[8:], offset)
	return append(b, f...)
}

// An open checksum is made.
func TestOpenChecksum(t *testing.T) {
	f := (&flow{}).frame(301, 0x10)
	open := append([]byte(nil), f...)
	pseudo := tcpAndPseudo(f[14:], f[34:])[:12]
	binary.BigEndian.PutUint16(pseudo[8:], 0)
	binary.BigEndian.PutUint16(pseudo[2+8:], 6)
	binary.BigEndian.PutUint16(pseudo[8:], uint16(len(f)-34))
	binary.BigEndian.PutUint16(open[34+16:], slowSum(pseudo))
	if got := cut(t, header(1, 0, 0, 34, 16, open)); len(got) != 1 || !bytes.Equal(got[0], f) {
		t.Errorf("got %x, want %x", got, f)
	}
}

// What cannot be is refused, whatever the header says.
func TestCutRefuses(t *testing.T) {
	f := (&flow{}).frame(3000, 0x10)
	f6 := (&flow{six: true}).frame(3000, 0x10)
	for name, p := range map[string][]byte{
		"nothing":                    nil,
		"only a header":              make([]byte, segments.Len),
		"a checksum behind the end":  header(1, 0, 0, 3000, 100, f[:1000]),
		"UDP":                        header(1, 3, 1000, 34, 16, f),
		"no size":                    header(1, 1, 0, 34, 16, f),
		"no checksum":                header(0, 1, 1000, 34, 16, f),
		"TCP behind the end":         header(1, 1, 1000, 60000, 16, f),
		"TCP inside the IP header":   header(1, 1, 1000, 30, 16, f),
		"TCP behind the IP header":   header(1, 1, 1000, 38, 16, f),
		"the other version":          header(1, 4, 1000, 34, 16, f),
		"IPv6 as the other version":  header(1, 1, 1000, 54, 16, f6),
		"TCP inside the IPv6 header": header(1, 4, 1000, 50, 16, f6),
		"not IP":                     header(1, 1, 1000, 34, 16, make([]byte, 3000)),
	} {
		var c segments.Cutter
		if err := c.Start(p, frameMax); !errors.Is(err, segments.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if n, ok := c.Next(make([]byte, frameMax)); n != 0 || ok {
			t.Errorf("%s: a frame of %d bytes", name, n)
		}
	}
	for name, p := range map[string][]byte{
		"segments": header(1, 1, 1500, 34, 16, f),
		"a frame":  header(0, 0, 0, 0, 0, f),
	} {
		var c segments.Cutter
		if err := c.Start(p, frameMax); !errors.Is(err, segments.ErrTooBig) {
			t.Errorf("%s longer than a frame may be: %v", name, err)
		}
	}
}

// A VLAN tag stays on every frame.
func TestCutVLAN(t *testing.T) {
	f := (&flow{}).frame(2000, 0x10)
	tagged := append(append(append([]byte(nil), f[:12]...), 0x81, 0, 0, 5), f[12:]...)
	got := cut(t, header(1, 1, 1000, 38, 16, tagged))
	if len(got) != 2 {
		t.Fatalf("%d frames, want 2", len(got))
	}
	for _, g := range got {
		if !bytes.Equal(g[:18], tagged[:18]) || len(g) != 1058 || slowSum(tcpAndPseudo(g[18:], g[38:])) != 0xffff {
			t.Errorf("frame %x", g[:60])
		}
	}
}

// FuzzCut has any bytes for a packet: nothing panics, and every frame is as long as
// it may be.
func FuzzCut(f *testing.F) {
	one := (&flow{}).frame(3000, 0x19)
	six := (&flow{six: true, options: 12}).frame(3000, 0x10)
	f.Add(header(1, 1, 1000, 34, 16, one), uint16(frameMax))
	f.Add(header(1, 0x81, 1, 34, 16, one), uint16(100))
	f.Add(header(1, 4, 1000, 54, 16, six), uint16(frameMax))
	f.Add(header(1, 0, 0, 34, 16, one), uint16(4000))
	f.Fuzz(func(t *testing.T, p []byte, limit uint16) {
		var c segments.Cutter
		if c.Start(p, int(limit)) != nil {
			return
		}
		buf := make([]byte, limit)
		for i := 0; ; i++ {
			n, ok := c.Next(buf)
			if !ok {
				break
			}
			if n > int(limit) || i > len(p) {
				t.Fatalf("frame %d has %d bytes, of %d", i, n, limit)
			}
		}
	})
}

// FuzzJoin has any bytes for two frames: nothing panics, and what is joined can be
// cut again into the same.
func FuzzJoin(f *testing.F) {
	for _, six := range []bool{false, true} {
		l := &flow{six: six}
		f.Add(l.frame(100, 0x10), l.frame(50, 0x18))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var j segments.Joiner
		frames := [][]byte{a, b}
		n := j.Join(frames)
		if n < 2 {
			return
		}
		if len(a) > frameMax {
			return
		}
		got := cut(t, packet(&j, frames))
		if len(got) != 2 || !bytes.Equal(got[0], a) || len(got[1]) != len(b) || !bytes.Equal(got[1][54:], b[54:]) {
			t.Fatalf("cut into %x, was %x and %x", got, a, b)
		}
	})
}

// Neither way allocates.
func TestNoAllocation(t *testing.T) {
	f := &flow{}
	var frames [][]byte
	for range 40 {
		frames = append(frames, f.frame(1460, 0x10))
	}
	var j segments.Joiner
	var c segments.Cutter
	j.Join(frames)
	p, buf := packet(&j, frames), make([]byte, frameMax)
	again := make([]byte, len(p))
	if n := testing.AllocsPerRun(20, func() {
		if k := j.Join(frames); k != 40 {
			panic(fmt.Sprint(k))
		}
		copy(again, p)
		if err := c.Start(again, frameMax); err != nil {
			panic(err)
		}
		for ok := true; ok; {
			_, ok = c.Next(buf)
		}
	}); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
}

func BenchmarkJoin(b *testing.B) {
	f := &flow{}
	var frames [][]byte
	for range 40 {
		frames = append(frames, f.frame(1460, 0x10))
	}
	var j segments.Joiner
	b.SetBytes(40 * 1460)
	for b.Loop() {
		j.Join(frames)
	}
}

func BenchmarkCut(b *testing.B) {
	f := &flow{}
	var frames [][]byte
	for range 40 {
		frames = append(frames, f.frame(1460, 0x10))
	}
	var j segments.Joiner
	j.Join(frames)
	p, buf := packet(&j, frames), make([]byte, frameMax)
	var c segments.Cutter
	b.SetBytes(40 * 1460)
	for b.Loop() {
		_ = c.Start(p, frameMax)
		for ok := true; ok; {
			_, ok = c.Next(buf)
		}
	}
}
