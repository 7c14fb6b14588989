package relay_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/relay/vnethdr"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/vmnettest"
)

// largest is the largest Ethernet frame of a network with offload.
const largest = 65536 + vmnet.HeaderLen

// A headedDevice is a device of MTU 1500 that takes large frames, with header bytes
// before each.
type headedDevice struct {
	vmnet.Device
	header int
}

func (d headedDevice) Info() vmnet.Info {
	i := d.Device.Info()
	i.MTU, i.MaxPacketSize, i.VnetHeader = 1500, largest+d.header, d.header
	return i
}

// A watcher is stage and tee: it notes what it sees, and answers frames for
// EtherType 0x88b6.
type watcher struct {
	mu     sync.Mutex
	up     [][]byte // as a stage
	teed   [2][][]byte
	answer []byte
}

func (w *watcher) FromGuest(frame []byte, reply func([]byte)) (relay.Verdict, relay.Reason) {
	w.mu.Lock()
	w.up = append(w.up, bytes.Clone(frame))
	w.mu.Unlock() // reply comes back as a tee's frame
	if frame[12] == 0x88 && frame[13] == 0xb6 {
		reply(w.answer)
		return relay.Taken, relay.ReasonNone
	}
	return relay.Pass, relay.ReasonNone
}

func (w *watcher) Frame(toGuest bool, frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := 0
	if toGuest {
		k = 1
	}
	w.teed[k] = append(w.teed[k], bytes.Clone(frame))
}

// segment returns a TCP segment over IPv4 of size bytes, with a true checksum.
func segment(size int) []byte {
	f := frame(size, size)
	copy(f[12:], []byte{8, 0, 0x45, 0})
	binary.BigEndian.PutUint16(f[16:], uint16(size-vmnet.HeaderLen))
	f[20], f[21], f[23], f[46] = 0x40, 0, 6, 5<<4
	h := vnethdr.Describe(f, vmnet.DefaultMTU, true)
	h.Finish(f)
	return f
}

// headed returns frame with h before it, of which the checksum is open if h says so.
func headed(h vnethdr.Header, f []byte) []byte {
	f = bytes.Clone(f)
	if h.Flags&vnethdr.NeedsChecksum != 0 {
		vnethdr.Describe(f, vmnet.DefaultMTU, true)
	}
	msg := append(make([]byte, vnethdr.Len), f...)
	h.Put(msg)
	return msg
}

// tcp is the header of a TCP segment that is to be cut into pieces of size bytes.
func tcp(size int) vnethdr.Header {
	h := vnethdr.Header{Flags: vnethdr.NeedsChecksum, ChecksumStart: 34, ChecksumOffset: 16}
	if size > 0 {
		h.GSO, h.HeaderLen, h.SegmentSize = vnethdr.GSOTCP4, 54, uint16(size)
	}
	return h
}

type headerCase struct {
	ifc, peer, limited bool
}

func (c headerCase) String() string {
	return fmt.Sprintf("interface %t, peer %t, limit %t", c.ifc, c.peer, c.limited)
}

// newHeadedRig is newRig for a case; the far end sends and takes what the interface has.
func newHeadedRig(t *testing.T, c headerCase, w *watcher) *rig {
	t.Helper()
	header := 0
	if c.ifc {
		header = relay.HeaderLen
	}
	a, b := vmnettest.NewPair(vmnettest.PairConfig{MTU: largest + header - vmnet.HeaderLen})
	g := &rig{ifc: vmnet.NewInterface("test", headedDevice{a, header}), far: vmnet.NewInterface("test", b), events: make(chan relay.PeerEvent, 64)}
	cfg := relay.Config{Stages: []relay.Stage{w}, Header: c.peer, PeerWait: 5 * time.Second, InterfaceWait: 5 * time.Second}
	if c.limited {
		cfg.Limits.FromGuest.Rate, cfg.Limits.ToGuest.Rate = 100e9, 100e9
	}
	r, err := relay.New(g.ifc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.Relay = r
	r.AddTee(w)
	t.Cleanup(func() { r.Close(); g.ifc.Close(); g.far.Close() })
	return g
}

// TestHeaders passes frames both ways, with a header on no side, on one, on both:
// stages, tees and counters see the frame alone; a header arrives as it was sent, or
// is made, or what it says is done.
func TestHeaders(t *testing.T) {
	for _, fr := range framings {
		for k := range 8 {
			c := headerCase{k&1 != 0, k&2 != 0, k&4 != 0}
			t.Run(fr.name+", "+c.String(), func(t *testing.T) {
				w := &watcher{answer: frame(60, 9)}
				g := newHeadedRig(t, c, w)
				ours, theirs := socketpair(t, fr.typ)
				for _, f := range []*os.File{ours, theirs} {
					largeBuffers(t, f)
				}
				p, err := fr.open(ours, g.MaxMessage())
				if err != nil {
					t.Fatal(err)
				}
				g.Attach(p, "fd")
				guest, err := fr.open(theirs, g.MaxMessage())
				if err != nil {
					t.Fatal(err)
				}
				defer guest.Close()
				passHeaders(t, g, c, w, guest)
			})
		}
	}
}

// largeBuffers makes room for frames of 64 KiB.
func largeBuffers(t *testing.T, f *os.File) {
	t.Helper()
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { setBuffers(t, int(fd), 1<<20) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

func passHeaders(t *testing.T, g *rig, c headerCase, w *watcher, guest relay.Port) {
	large, small, arp := segment(60000), segment(1000), append(frame(12, 1), 8, 6)
	sent := [][]byte{large, small, arp}
	// Segments that the sender cuts smaller than the MTU asks for stay so.
	said := []vnethdr.Header{tcp(1200), tcp(0), {}}
	made := []vnethdr.Header{tcp(1460), tcp(0), {}}

	// From the guest.
	for k, f := range sent {
		if c.peer {
			f = headed(said[k], f)
		}
		if n, err := guest.WriteBatch([][]byte{f}); n != 1 {
			t.Fatal(err)
		}
		want := sent[k]
		switch {
		case c.ifc && c.peer:
			want = headed(said[k], sent[k])
		case c.ifc:
			want = headed(made[k], sent[k])
		}
		if got := g.recvFar(t); !bytes.Equal(got, want) {
			t.Errorf("frame %d to the interface: %d bytes %.14x, want %d bytes %.14x", k, len(got), got, len(want), want)
		}
	}
	// To the guest. What a plain interface sends is complete.
	made[1] = vnethdr.Header{}
	for k, f := range sent {
		if c.ifc {
			f = headed(said[k], f)
		}
		if err := g.far.Write(f); err != nil {
			t.Fatal(err)
		}
		want := sent[k]
		switch {
		case c.ifc && c.peer:
			said[k].Buffers = 1
			want = headed(said[k], sent[k])
		case c.peer:
			made[k].Buffers = 1
			want = headed(made[k], sent[k])
		}
		if got := readOne(t, g, guest); !bytes.Equal(got, want) {
			t.Errorf("frame %d to the guest: %d bytes %.14x, want %d bytes %.14x", k, len(got), got, len(want), want)
		}
	}
	// An answer of a stage. It comes another way: what was teed before it is in order.
	eventually(t, "frames to the guest are teed", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.teed[1]) == len(sent)
	})
	ask, want := append(frame(12, 1), 0x88, 0xb6), w.answer
	if c.peer {
		ask, want = headed(vnethdr.Header{}, ask), headed(vnethdr.Header{Buffers: 1}, want)
	}
	if n, err := guest.WriteBatch([][]byte{ask}); n != 1 {
		t.Fatal(err)
	}
	if got := readOne(t, g, guest); !bytes.Equal(got, want) {
		t.Errorf("answer %x, want %x", got, want)
	}
	bytesOf := len(large) + len(small) + len(arp)
	eventually(t, "counters", func() bool {
		s := g.Stats()
		return s.FromGuest.Bytes == uint64(bytesOf+14) && s.ToGuest.Bytes == uint64(bytesOf+60) &&
			s.FromGuest.Frames == 4 && s.ToGuest.Frames == 4
	})
	eventually(t, "tees", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.teed[0]) == len(sent)+1 && len(w.teed[1]) == len(sent)+1
	})
	seen(t, w, sent)
}

// seen compares what stages and tees saw, but for checksums, with what was sent.
func seen(t *testing.T, w *watcher, sent [][]byte) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, got := range map[string][][]byte{"stage": w.up, "tee from the guest": w.teed[0], "tee to the guest": w.teed[1]} {
		if len(got) != len(sent)+1 {
			t.Errorf("%s: %d frames, want %d", name, len(got), len(sent)+1)
			continue
		}
		for k, f := range sent {
			if !slices.Equal(without(got[k]), without(f)) {
				t.Errorf("%s: frame %d: %d bytes %.20x, want %d bytes %.20x", name, k, len(got[k]), got[k], len(f), f)
			}
		}
	}
}

// without returns a frame without TCP checksum.
func without(f []byte) []byte {
	f = bytes.Clone(f)
	if len(f) > 52 {
		f[50], f[51] = 0, 0
	}
	return f
}

// readOne reads one message; the rig's end ends the wait.
func readOne(t *testing.T, g *rig, p relay.Port) []byte {
	t.Helper()
	timer := time.AfterFunc(30*time.Second, func() { p.Close() })
	defer timer.Stop()
	bufs, sizes := relay.NewBuffers(1, g.MaxMessage()), make([]int, 1)
	if n, err := p.ReadBatch(bufs, sizes); n != 1 {
		t.Fatal(err)
	}
	return bufs[0][:sizes[0]]
}

// TestHeaderLies has a guest send headers that do not fit their frames: these are
// dropped and counted, and those after them pass.
func TestHeaderLies(t *testing.T) {
	for _, ifc := range []bool{false, true} {
		c := headerCase{ifc: ifc, peer: true}
		w := &watcher{}
		g := newHeadedRig(t, c, w)
		ours, theirs := socketpair(t, framings[0].typ)
		p, err := framings[0].open(ours, g.MaxMessage())
		if err != nil {
			t.Fatal(err)
		}
		g.Attach(p, "fd")
		guest, err := framings[0].open(theirs, g.MaxMessage())
		if err != nil {
			t.Fatal(err)
		}
		defer guest.Close()
		udp, outside, none, size := tcp(1200), tcp(1200), tcp(1200), tcp(1200)
		udp.GSO, outside.ChecksumOffset, none.Flags, size.SegmentSize = 3, 65535, 0, 0
		var lies [][]byte
		for _, h := range []vnethdr.Header{udp, outside, none, size} {
			lies = append(lies, headed(h, segment(3000)))
		}
		runt := make([]byte, vnethdr.Len+2)
		good := headed(tcp(1200), segment(3000))
		for _, f := range append(lies, runt, good) {
			if n, err := guest.WriteBatch([][]byte{f}); n != 1 {
				t.Fatal(err)
			}
		}
		want := segment(3000)
		if ifc {
			want = good
		}
		if got := g.recvFar(t); !bytes.Equal(got, want) {
			t.Errorf("%d bytes %.20x", len(got), got)
		}
		eventually(t, "drops are counted", func() bool {
			d := g.Stats().FromGuest.Drops
			return d["malformed"] == 4 && d["runt"] == 1
		})
	}
}
