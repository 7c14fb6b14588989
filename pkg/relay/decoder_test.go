package relay_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// decode feeds stream to a decoder in pieces of at most step bytes and returns
// what came out, frames by length, refusals by reason.
func decode(stream []byte, maxFrame, step int) (out []string, frames [][]byte) {
	d := relay.NewDecoder(maxFrame)
	for len(stream) > 0 {
		n := copy(d.Room(), stream[:min(step, len(stream))])
		d.Fill(n)
		stream = stream[n:]
		for f, why, ok := d.Next(); ok; f, why, ok = d.Next() {
			if why == relay.ReasonOutOfStep {
				return append(out, why.String()), frames
			}
			if why != relay.ReasonNone {
				out = append(out, why.String())
				continue
			}
			out = append(out, fmt.Sprint(len(f)))
			frames = append(frames, bytes.Clone(f))
		}
	}
	return out, frames
}

// length returns a stream with one announced length and n bytes after it.
func length(size uint32, n int) []byte {
	return append(binary.BigEndian.AppendUint32(nil, size), make([]byte, n)...)
}

func TestDecoder(t *testing.T) {
	good := prefixed(frame(60, 1))
	tests := []struct {
		name   string
		stream []byte
		want   []string
	}{
		{"one frame", good, []string{"60"}},
		{"smallest", prefixed(frame(14, 1)), []string{"14"}},
		{"largest", prefixed(frame(maxFrame, 1)), []string{"1514"}},
		{"length 0", append(length(0, 0), good...), []string{"runt", "60"}},
		{"length 1", append(length(1, 1), good...), []string{"runt", "60"}},
		{"length 13", append(length(13, 13), good...), []string{"runt", "60"}},
		{"too big for the interface", append(length(1515, 1515), good...), []string{"too-big", "60"}},
		{"largest of all", append(length(65550, 65550), good...), []string{"too-big", "60"}},
		{"65551", append(length(65551, 65551), good...), []string{"out-of-step"}},
		{"4 GiB", append(length(1<<32-1, 100), good...), []string{"out-of-step"}},
		{"frames before the step is lost", append(append([]byte{}, good...), length(1<<31, 4)...), []string{"60", "out-of-step"}},
		{"cut length", good[:3], nil},
		{"cut frame", good[:20], nil},
		{"many", prefixed(frame(60, 1), frame(61, 2), frame(1514, 3), frame(14, 4)), []string{"60", "61", "1514", "14"}},
	}
	for _, tt := range tests {
		for _, step := range []int{1, 2, 3, 5, 1000, 1 << 20} {
			t.Run(fmt.Sprintf("%s/%d", tt.name, step), func(t *testing.T) {
				if got, _ := decode(tt.stream, maxFrame, step); fmt.Sprint(got) != fmt.Sprint(tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		}
	}
}

// A frame that just does not fit behind others must still be completed: the
// decoder makes room.
func TestDecoderNeverStalls(t *testing.T) {
	var want [][]byte
	for i := range 300 {
		want = append(want, frame(14+(i*7919)%(65536), i))
	}
	_, got := decode(prefixed(want...), relay.MaxStreamFrame, 1<<20)
	if len(got) != len(want) {
		t.Fatalf("%d frames, want %d", len(got), len(want))
	}
	for i := range got {
		wantFrame(t, got[i], want[i])
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add(prefixed(frame(60, 1), frame(1514, 2)), 7)
	f.Add(append(length(0, 0), prefixed(frame(14, 1))...), 1)
	f.Add(append(length(13, 13), length(1515, 1515)...), 3)
	f.Add(length(65551, 10), 1)
	f.Add(length(1<<32-1, 10), 2)
	f.Fuzz(func(t *testing.T, stream []byte, step int) {
		step = 1 + int(uint(step)%4096)
		whole, frames := decode(stream, maxFrame, 1<<20)
		parts, again := decode(stream, maxFrame, step)
		if fmt.Sprint(whole) != fmt.Sprint(parts) {
			t.Fatalf("in one piece %v, in pieces of %d %v", whole, step, parts)
		}
		for i, fr := range frames {
			if len(fr) < vmnet.HeaderLen || len(fr) > maxFrame {
				t.Fatalf("frame of %d bytes", len(fr))
			}
			wantFrame(t, again[i], fr)
		}
	})
}
