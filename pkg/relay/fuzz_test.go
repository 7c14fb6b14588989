package relay_test

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// split cuts a fuzzer's bytes into messages: two bytes of length, then as many of
// content, repeated to that length when they run out.
func split(data []byte) (msgs [][]byte) {
	for len(data) >= 2 && len(msgs) < 200 {
		size := int(binary.BigEndian.Uint16(data))
		data = data[2:]
		msg := make([]byte, size)
		if n := copy(msg, data); n < size {
			data = nil
		} else {
			data = data[n:]
		}
		msgs = append(msgs, msg)
	}
	return msgs
}

// FuzzDatagrams sends any messages through a relay: those that are frames arrive
// whole and in order, the others are counted, and the relay lives.
func FuzzDatagrams(f *testing.F) {
	f.Add([]byte("\x00\x04VFKT\x00\x00\x00\x0d"), false)
	f.Add([]byte("\x00\x0eabcdefghijklmn\x05\xeb"), true)
	f.Add([]byte("\x05\xea\xff\xff"), false)
	f.Fuzz(func(t *testing.T, data []byte, plain bool) {
		g := newRig(t, 1500, relay.Config{})
		open := relay.NewDatagramPort
		if plain {
			open = relay.NewPlainDatagramPort
		}
		guest := g.attach(t, unix.SOCK_DGRAM, open)
		msgs := append(split(data), frame(60, 1))
		in(func() {
			for _, m := range msgs {
				write(t, guest, m)
			}
		}, func() {
			for _, m := range msgs {
				if len(m) >= vmnet.HeaderLen && len(m) <= maxFrame {
					wantFrame(t, g.recvFar(t), m)
				}
			}
		})
		eventually(t, "every message is counted", func() bool {
			s := g.fromGuest()
			sum := s.Frames
			for _, n := range s.Drops {
				sum += n
			}
			return sum == uint64(len(msgs))
		})
	})
}

// FuzzStream sends any bytes through a relay: it lives, and serves the next guest.
func FuzzStream(f *testing.F) {
	f.Add(prefixed(frame(60, 1), frame(1514, 2)))
	f.Add(append(length(0, 0), prefixed(frame(14, 1))...))
	f.Add(length(65551, 10))
	f.Add(length(1<<32-1, 10))
	f.Fuzz(func(t *testing.T, stream []byte) {
		g := newRig(t, 1500, relay.Config{})
		guest := g.attach(t, unix.SOCK_STREAM, relay.NewStreamPort)
		_, frames := decode(stream, maxFrame, 1<<20)
		in(func() {
			_, _ = guest.Write(stream) // cut off where the stream loses its step
		}, func() {
			for _, fr := range frames {
				wantFrame(t, g.recvFar(t), fr)
			}
		})
		next := g.attach(t, unix.SOCK_STREAM, relay.NewStreamPort)
		write(t, next, prefixed(frame(60, 5)))
		wantFrame(t, g.recvFar(t), frame(60, 5))
	})
}
