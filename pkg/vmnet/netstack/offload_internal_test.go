package netstack

import (
	"bytes"
	"encoding/hex"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// tcp4 is a segment with two bytes of data whose checksum is left open.
const tcp4 = "ffffffffffff02000000000108004500002a00010000400600000a0000010a000002" +
	"0050c350000000010000000250100100000000006869"

func TestFinishChecksum(t *testing.T) {
	f, err := hex.DecodeString(tcp4)
	if err != nil {
		t.Fatal(err)
	}
	finishChecksum(f)
	l4, h := f[34:], header.IPv4(f[14:])
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, h.SourceAddress(), h.DestinationAddress(), uint16(len(l4)))
	if got := checksum.Checksum(l4, sum); got != 0xffff {
		t.Errorf("sum %#x, want 0xffff", got)
	}
	done := bytes.Clone(f)
	if finishChecksum(f); !bytes.Equal(f, done) {
		t.Error("a true checksum was changed")
	}
	f[20] = 0x20 // more fragments
	if finishChecksum(f); !bytes.Equal(f[34:], done[34:]) {
		t.Error("a fragment was changed")
	}
}

func FuzzFinishChecksum(f *testing.F) {
	seed, err := hex.DecodeString(tcp4)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	six := append(bytes.Clone(seed[:12]), 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64)
	f.Add(append(six, make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 14 {
			return
		}
		before := len(b)
		if finishChecksum(b); len(b) != before {
			t.Error("another length")
		}
	})
}
