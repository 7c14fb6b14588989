package checksum_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/checksum"
)

// plain is the definition: big-endian words, one after the other.
func plain(b []byte) uint16 {
	var sum uint64
	for ; len(b) >= 2; b = b[2:] {
		sum += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func TestAdd(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 65536)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	for _, fill := range [][]byte{b, bytes.Repeat([]byte{0xff}, len(b)), make([]byte, len(b))} {
		for size := range 300 {
			if got, want := checksum.Fold(checksum.Add(0, fill[:size])), plain(fill[:size]); got != want {
				t.Fatalf("%d bytes: %#x, want %#x", size, got, want)
			}
		}
		if got, want := checksum.Fold(checksum.Add(0, fill)), plain(fill); got != want {
			t.Errorf("64 KiB: %#x, want %#x", got, want)
		}
		for range 100 { // in parts
			at := r.IntN(700) * 2
			sum := checksum.Add(checksum.Add(0, fill[:at]), fill[at:1501])
			if got, want := checksum.Fold(sum), plain(fill[:1501]); got != want {
				t.Errorf("parts at %d: %#x, want %#x", at, got, want)
			}
		}
	}
}

// TestHeader has the header of a packet that was once on a wire.
func TestHeader(t *testing.T) {
	b, err := hex.DecodeString("45000073000040004011b861c0a80001c0a800c7")
	if err != nil {
		t.Fatal(err)
	}
	if got := checksum.Fold(checksum.Add(0, b)); got != 0xffff {
		t.Errorf("the sum with its checksum is %#x, want 0xffff", got)
	}
	clear(b[10:12])
	if got := ^checksum.Fold(checksum.Add(0, b)); got != 0xb861 {
		t.Errorf("checksum %#x, want 0xb861", got)
	}
}

func TestPseudo(t *testing.T) {
	ip4, ip6 := make([]byte, 20), make([]byte, 40)
	ip4[0], ip6[0] = 0x45, 0x60
	copy(ip4[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	copy(ip6[8:], []byte{0x20, 1, 0xd, 0xb8, 15: 1})
	copy(ip6[24:], []byte{0x20, 1, 0xd, 0xb8, 15: 2})
	const size = 40000
	if got, want := checksum.Fold(checksum.Pseudo(ip4, 6, size)), plain(append(ip4[12:20:20], 0, 6, size>>8, size&255)); got != want {
		t.Errorf("IPv4: %#x, want %#x", got, want)
	}
	if got, want := checksum.Fold(checksum.Pseudo(ip6, 58, size)), plain(append(ip6[8:40:40], 0, 0, size>>8, size&255, 0, 0, 0, 58)); got != want {
		t.Errorf("IPv6: %#x, want %#x", got, want)
	}
}

func TestUDP(t *testing.T) {
	for sum, want := range map[uint32]uint16{0xffff: 0xffff, 0: 0xffff, 1: 0xfffe, 0x1fffe: 0xffff} {
		if got := checksum.UDP(sum); got != want {
			t.Errorf("of the sum %#x: %#x, want %#x", sum, got, want)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	p := make([]byte, 1460)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		checksum.Add(0, p)
	}
}
