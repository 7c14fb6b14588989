package netstack

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A sink keeps what an endpoint delivers.
type sink struct {
	stack.NetworkDispatcher
	packets [][]byte
}

func (s *sink) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	v := pkt.ToView()
	s.packets = append(s.packets, append([]byte(nil), v.AsSlice()...))
	v.Release()
}

// segment makes a TCP segment in an IPv4 packet.
func segment(change func(header.IPv4, header.TCP), seq uint32, payload string) []byte {
	b := make([]byte, 40+len(payload))
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 64, Protocol: 6,
		SrcAddr: tcpip.AddrFrom4([4]byte{10, 0, 0, 2}), DstAddr: tcpip.AddrFrom4([4]byte{192, 0, 2, 1}),
	})
	t := header.TCP(b[20:])
	t.Encode(&header.TCPFields{SrcPort: 1, DstPort: 2, SeqNum: seq, AckNum: 9, DataOffset: 20, Flags: header.TCPFlagAck, WindowSize: 100})
	copy(b[40:], payload)
	if change != nil {
		change(ip, t)
	}
	return b
}

func TestInboundMerges(t *testing.T) {
	flags := func(f header.TCPFlags) func(header.IPv4, header.TCP) {
		return func(_ header.IPv4, t header.TCP) { t.SetFlags(uint8(f)) }
	}
	push := flags(header.TCPFlagAck | header.TCPFlagPsh)
	for _, c := range []struct {
		name string
		in   [][]byte
		want []string // payloads delivered
	}{
		{"in order", [][]byte{segment(nil, 0, "aa"), segment(nil, 2, "bb"), segment(nil, 4, "c")}, []string{"aabbc"}},
		{"a hole", [][]byte{segment(nil, 0, "aa"), segment(nil, 3, "bb")}, []string{"aa", "bb"}},
		{"sequence wraps", [][]byte{segment(nil, 0xffffffff, "aa"), segment(nil, 1, "bb")}, []string{"aabb"}},
		{"PSH ends a run", [][]byte{segment(nil, 0, "aa"), segment(push, 2, "bb"), segment(nil, 4, "cc")}, []string{"aabb", "cc"}},
		{"FIN is apart", [][]byte{segment(nil, 0, "aa"), segment(flags(header.TCPFlagAck|header.TCPFlagFin), 2, "bb")}, []string{"aa", "bb"}},
		{"bare ACKs are apart", [][]byte{segment(nil, 0, "aa"), segment(nil, 2, ""), segment(nil, 2, "bb")}, []string{"aa", "", "bb"}},
		{"another port", [][]byte{segment(nil, 0, "aa"), segment(func(_ header.IPv4, t header.TCP) { t.SetSourcePort(3) }, 2, "bb")}, []string{"aa", "bb"}},
		{"another TTL", [][]byte{segment(nil, 0, "aa"), segment(func(h header.IPv4, _ header.TCP) { h.SetTTL(3) }, 2, "bb")}, []string{"aa", "bb"}},
		{"another window", [][]byte{segment(nil, 0, "aa"), segment(func(_ header.IPv4, t header.TCP) { t.SetWindowSize(3) }, 2, "bb")}, []string{"aa", "bb"}},
		{"another acknowledgement", [][]byte{segment(nil, 0, "aa"), segment(func(_ header.IPv4, t header.TCP) { t.SetAckNumber(3) }, 2, "bb")}, []string{"aa", "bb"}},
		{"a fragment", [][]byte{segment(nil, 0, "aa"), segment(func(h header.IPv4, _ header.TCP) { h.SetFlagsFragmentOffset(1, 0) }, 2, "bb")}, []string{"aa", "bb"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sink
			link := &endpoint{}
			link.Attach(&s)
			var in inbound
			in.init(link)
			for _, p := range c.in {
				in.add(p)
			}
			in.flush()
			var got []string
			for _, p := range s.packets {
				if int(header.IPv4(p).TotalLength()) != len(p) {
					t.Errorf("packet of %d bytes says %d", len(p), header.IPv4(p).TotalLength())
				}
				got = append(got, string(p[40:]))
			}
			if len(got) != len(c.want) {
				t.Fatalf("delivered %q, want %q", got, c.want)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("delivered %q, want %q", got, c.want)
				}
			}
		})
	}
}

// TestInboundKeepsAll sends random runs and checks that no byte is lost, moved or
// put into a packet that is too long.
func TestInboundKeepsAll(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var s sink
		link := &endpoint{}
		link.Attach(&s)
		var in inbound
		in.init(link)
		var want, got bytes.Buffer
		seq := r.Uint32()
		for range r.IntN(2 * maxBatch) {
			payload := string(bytes.Repeat([]byte{byte(r.Uint32())}, 1+r.IntN(3000)))
			in.add(segment(func(_ header.IPv4, t header.TCP) {
				if r.IntN(10) == 0 {
					t.SetFlags(uint8(header.TCPFlagAck | header.TCPFlagPsh))
				}
			}, seq, payload))
			seq += uint32(len(payload))
			want.WriteString(payload)
			if r.IntN(50) == 0 {
				in.flush()
			}
		}
		in.flush()
		for _, p := range s.packets {
			got.Write(p[40:])
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("delivered %d bytes, want the %d sent, in order", got.Len(), want.Len())
		}
	}
}
