package relay_test

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Frames pass both ways, and are counted.
func TestRelayBothWays(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			g := newRig(t, 1500, relay.Config{})
			guest, err := fr.open(g.attach(t, fr.typ, fr.open), maxFrame)
			if err != nil {
				t.Fatal(err)
			}
			defer guest.Close()
			const total = 200
			for i := range total {
				if _, err := guest.WriteBatch([][]byte{frame(60+i, i)}); err != nil {
					t.Fatal(err)
				}
				wantFrame(t, g.recvFar(t), frame(60+i, i))
				if err := g.far.Write(frame(1514-i, i)); err != nil {
					t.Fatal(err)
				}
				got, err := readBatch(guest, maxFrame)
				if err != nil || len(got) != 1 {
					t.Fatalf("%d frames, %v", len(got), err)
				}
				wantFrame(t, got[0], frame(1514-i, i))
			}
			// A frame is counted after it was handed on.
			eventually(t, "all counted", func() bool {
				return g.fromGuest().Frames == total && g.toGuest().Frames == total
			})
			s := g.Stats()
			if d := s.FromGuest; d.Frames != total || d.Bytes != 60*total+total*(total-1)/2 || len(d.Drops) != 0 {
				t.Errorf("from the guest: %+v", d)
			}
			if d := s.ToGuest; d.Frames != total || d.Bytes != 1514*total-total*(total-1)/2 || len(d.Drops) != 0 {
				t.Errorf("to the guest: %+v", d)
			}
			if p := g.Peer(); !p.Connected || p.Via != "fd" || p.Since.IsZero() {
				t.Errorf("peer %+v", p)
			}
		})
	}
}

// What is not a frame is counted and hurts nobody: the frame after it passes.
func TestRelayMalformedDatagrams(t *testing.T) {
	tests := []struct {
		name string
		msg  []byte
		why  relay.Reason
	}{
		{"zero length", []byte{}, relay.ReasonRunt},
		{"1 byte", frame(1, 0), relay.ReasonRunt},
		{"13 bytes", frame(13, 0), relay.ReasonRunt},
		{"greeting", []byte("VFKT"), relay.ReasonGreeting},
		{"one too many", frame(maxFrame+1, 0), relay.ReasonTooBig},
		{"64 KiB", frame(65550, 0), relay.ReasonTooBig},
		{"100 KB", frame(100_000, 0), relay.ReasonTooBig},
	}
	for _, fr := range framings[:2] {
		t.Run(fr.name, func(t *testing.T) {
			g := newRig(t, 1500, relay.Config{})
			guest := g.attach(t, fr.typ, fr.open)
			want := map[relay.Reason]uint64{}
			for i, tt := range tests {
				write(t, guest, tt.msg)
				write(t, guest, frame(60, i))
				wantFrame(t, g.recvFar(t), frame(60, i))
				want[tt.why]++
				wantDrop(t, g.fromGuest, tt.why, want[tt.why])
			}
			// In one batch, good and bad mixed: order is kept.
			for i, tt := range tests {
				write(t, guest, tt.msg)
				write(t, guest, frame(100+i, i))
			}
			for i := range tests {
				wantFrame(t, g.recvFar(t), frame(100+i, i))
			}
		})
	}
}

func TestRelayMalformedStream(t *testing.T) {
	good := prefixed(frame(60, 9))
	tests := []struct {
		name  string
		bytes []byte
		why   relay.Reason
		dies  bool
	}{
		{"length 0", length(0, 0), relay.ReasonRunt, false},
		{"length 13", length(13, 13), relay.ReasonRunt, false},
		{"greeting", prefixed([]byte("VFKT")), relay.ReasonRunt, false},
		{"one too many", length(maxFrame+1, maxFrame+1), relay.ReasonTooBig, false},
		{"65550", length(65550, 65550), relay.ReasonTooBig, false},
		{"65551", length(65551, 65551), relay.ReasonOutOfStep, true},
		{"4 GiB", length(1<<32-1, 100), relay.ReasonOutOfStep, true},
		{"text", []byte("GET / HTTP/1.1\r\n\r\n"), relay.ReasonOutOfStep, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, 1500, relay.Config{})
			guest := g.attach(t, unix.SOCK_STREAM, relay.NewStreamPort)
			g.wantEvents(t, "+fd")
			write(t, guest, append(append([]byte{}, good...), tt.bytes...))
			wantFrame(t, g.recvFar(t), frame(60, 9))
			wantDrop(t, g.fromGuest, tt.why, 1)
			if tt.dies {
				if e := g.event(t); e.Connected || !errors.Is(e.Err, relay.ErrOutOfStep) {
					t.Errorf("event %+v", e)
				}
				if g.Peer().Connected {
					t.Error("still the peer")
				}
				guest = g.attach(t, unix.SOCK_STREAM, relay.NewStreamPort) // the relay lives on
			}
			write(t, guest, good)
			wantFrame(t, g.recvFar(t), frame(60, 9))
		})
	}
}

// A frame over many writes, and many frames in one, with lengths cut anywhere.
func TestRelayStreamPieces(t *testing.T) {
	var frames [][]byte
	for i := range 100 {
		frames = append(frames, frame(14+(i*97)%1501, i))
	}
	stream := prefixed(frames...)
	for _, step := range []int{1, 3, 1000, len(stream)} {
		g := newRig(t, 1500, relay.Config{})
		guest := g.attach(t, unix.SOCK_STREAM, relay.NewStreamPort)
		in(func() {
			for rest := stream; len(rest) > 0; rest = rest[min(step, len(rest)):] {
				write(t, guest, rest[:min(step, len(rest))])
			}
		}, func() {
			for _, f := range frames {
				wantFrame(t, g.recvFar(t), f)
			}
		})
	}
}

// write writes to a guest's end and waits while it is full.
func write(t testing.TB, w interface{ Write([]byte) (int, error) }, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Error(err)
	}
}

// verdicts is a stage that is told by the frame's first byte what to do.
type verdicts struct{ calls int }

func (v *verdicts) FromGuest(f []byte, reply func([]byte)) (relay.Verdict, relay.Reason) {
	v.calls++
	switch f[0] {
	case 'a':
		reply(append([]byte("answer"), f[6:]...))
		reply([]byte("short"))
		return relay.Taken, relay.ReasonNone
	case 't':
		return relay.Taken, relay.ReasonNone
	case 'd':
		return relay.Drop, relay.ReasonPolicy
	case 'n':
		return relay.Drop, relay.ReasonNone
	case 'w':
		return relay.Drop, 200
	}
	return relay.Pass, relay.ReasonNone
}

func TestRelayStages(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			first, second := &verdicts{}, &verdicts{}
			g := newRig(t, 1500, relay.Config{Stages: []relay.Stage{first, second}})
			guest, err := fr.open(g.attach(t, fr.typ, fr.open), maxFrame)
			if err != nil {
				t.Fatal(err)
			}
			defer guest.Close()
			var batch [][]byte
			for _, c := range "atdnwp" {
				f := frame(60, 0)
				f[0] = byte(c)
				batch = append(batch, f)
			}
			if _, err := guest.WriteBatch(batch); err != nil {
				t.Fatal(err)
			}
			wantFrame(t, g.recvFar(t), batch[5])
			got, err := readBatch(guest, maxFrame)
			if err != nil || len(got) != 1 || !bytes.HasPrefix(got[0], []byte("answer")) {
				t.Fatalf("answer: %q, %v", got, err)
			}
			eventually(t, "all counted", func() bool { return g.fromGuest().Frames == 3 })
			s := g.Stats()
			if s.Answered != 1 || s.FromGuest.Frames != 3 || s.ToGuest.Frames != 1 {
				t.Errorf("stats %+v", s)
			}
			wantDrop(t, g.fromGuest, relay.ReasonPolicy, 1)
			wantDrop(t, g.fromGuest, relay.ReasonStage, 2)
			wantDrop(t, g.toGuest, relay.ReasonRunt, 1)
			if first.calls != 6 || second.calls != 1 {
				t.Errorf("calls %d, %d", first.calls, second.calls)
			}
		})
	}
}

// Without a guest frames are counted and dropped, and a guest that comes later
// gets what comes later.
func TestRelayNoPeer(t *testing.T) {
	g := newRig(t, 1500, relay.Config{})
	for i := range 1000 {
		for errors.Is(g.far.Write(frame(60, i)), vmnet.BufferExhausted) {
			time.Sleep(time.Millisecond)
		}
	}
	wantDrop(t, g.toGuest, relay.ReasonNoPeer, 1000)
	guest := g.attach(t, unix.SOCK_DGRAM, relay.NewDatagramPort)
	g.reaches(t, guest, frame(60, 5))
}

// A guest that takes nothing loses its own frames, and holds up neither Close nor
// the other relays.
func TestRelaySlowPeer(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			slow, quick := newRig(t, 1500, relay.Config{}), newRig(t, 1500, relay.Config{})
			slow.attach(t, fr.typ, fr.open)
			guest, err := fr.open(quick.attach(t, fr.typ, fr.open), maxFrame)
			if err != nil {
				t.Fatal(err)
			}
			defer guest.Close()
			eventually(t, "drops of the slow guest", func() bool {
				for range 64 {
					_ = slow.far.Write(frame(1514, 1)) // full is what we want
				}
				return slow.toGuest().Drops["peer-full"] > 0
			})
			for i := range 50 {
				_ = slow.far.Write(frame(1514, 1))
				if err := quick.far.Write(frame(60, i)); err != nil {
					t.Fatal(err)
				}
				got, err := readBatch(guest, maxFrame)
				if err != nil {
					t.Fatal(err)
				}
				wantFrame(t, got[0], frame(60, i))
			}
			closes(t, slow.Relay)
			stuck := newRig(t, 1500, relay.Config{PeerWait: time.Hour})
			stuck.attach(t, fr.typ, fr.open)
			eventually(t, "a pump that waits for its guest", func() bool {
				return errors.Is(stuck.far.Write(frame(1514, 1)), vmnet.BufferExhausted)
			})
			closes(t, stuck.Relay)
		})
	}
}

// closes fails unless Close ends.
func closes(t *testing.T, r *relay.Relay) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- r.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatalf("close takes more than %v", patience)
	}
}

// Close under load from both sides ends; twice is once; nothing is left.
func TestRelayClose(t *testing.T) {
	before := countFDs(t)
	for _, fr := range framings {
		g := newRig(t, 1500, relay.Config{})
		theirs := g.attach(t, fr.typ, fr.open)
		dir := shortDir(t)
		if err := g.ListenDatagram(listenDgram(t, dir+"/d")); err != nil {
			t.Fatal(err)
		}
		if err := g.ListenStream(listenStream(t, dir+"/s")); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		flood := func(do func()) func() {
			return func() {
				for {
					select {
					case <-stop:
						return
					default:
						do()
					}
				}
			}
		}
		msg := frame(60, 1)
		if fr.typ == unix.SOCK_STREAM {
			msg = prefixed(msg)
		}
		_ = theirs.SetDeadline(time.Now().Add(patience))
		go in(
			flood(func() { _ = g.far.Write(frame(60, 1)) }),
			flood(func() { _, _ = theirs.Write(msg) }),
			flood(func() { _, _ = theirs.Read(make([]byte, 2000)) }),
		)
		eventually(t, "frames both ways", func() bool { return g.fromGuest().Frames > 100 && g.toGuest().Frames > 100 })
		in(func() { g.Close() }, func() { g.Close() })
		if g.Peer().Connected {
			t.Error("a peer after Close")
		}
		close(stop)
		theirs.Close()
		g.Attach(mustPort(t, fr.open, fr.typ), "fd")
		if err := g.ListenStream(listenStream(t, dir+"/s2")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("listen after Close: %v", err)
		}
		if err := g.ListenDatagram(listenDgram(t, dir+"/d2")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("listen after Close: %v", err)
		}
	}
	eventually(t, "all descriptors closed", func() bool { return countFDs(t) <= before })
}

// A closed interface ends the relay without a word.
func TestRelayInterfaceClosed(t *testing.T) {
	for _, fr := range framings {
		t.Run(fr.name, func(t *testing.T) {
			g := newRig(t, 1500, relay.Config{})
			guest := g.attach(t, fr.typ, fr.open)
			g.wantEvents(t, "+fd")
			g.ifc.Close()
			msg := frame(60, 1)
			if fr.typ == unix.SOCK_STREAM {
				msg = prefixed(msg)
			}
			write(t, guest, msg)
			wantDrop(t, g.fromGuest, relay.ReasonClosed, 1)
			eventually(t, "the peer is let go", func() bool { return !g.Peer().Connected })
			if err := g.Close(); err != nil {
				t.Error(err)
			}
			if len(g.events) != 0 {
				t.Errorf("event %+v", <-g.events)
			}
		})
	}
}

// An interface without room is asked again for a while, then the frames drop.
func TestRelayInterfaceFull(t *testing.T) {
	g := newRig(t, 1500, relay.Config{InterfaceWait: time.Millisecond})
	guest := g.attach(t, unix.SOCK_DGRAM, relay.NewDatagramPort)
	eventually(t, "drops", func() bool { // nobody reads the far end
		for range 100 {
			write(t, guest, frame(60, 1))
		}
		return g.fromGuest().Drops["interface-full"] > 0
	})
	if d := g.fromGuest(); d.Frames != 512 {
		t.Errorf("%d frames passed, want the queue's 512", d.Frames)
	}
}
