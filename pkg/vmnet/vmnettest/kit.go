package vmnettest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Frames of the suite have the two EtherTypes that IEEE 802 (section 9.2.3.4)
// keeps for local experiments, so that no host answers them.
const (
	etherTest = 0x88b5 // frames that cases count
	etherJoin = 0x88b6 // frames that only show that two interfaces reach each other
	minTest   = 64     // bytes of the smallest test frame; Ethernet may pad shorter ones
	window    = 16     // frames under way at once in cases that must lose none
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// frame returns a test frame of size bytes that is unlike those with another seq.
func frame(to, from net.HardwareAddr, seq uint32, size int) []byte {
	f := make([]byte, size)
	copy(f, to)
	copy(f[6:], from)
	binary.BigEndian.PutUint16(f[12:], etherTest)
	binary.BigEndian.PutUint32(f[14:], seq)
	for i := 18; i < size; i++ {
		f[i] = byte(uint32(i)*7 + seq)
	}
	return f
}

// seqOf returns the seq of a test frame; ok is false for any other frame.
func seqOf(f []byte) (seq uint32, ok bool) {
	if len(f) < minTest || binary.BigEndian.Uint16(f[12:]) != etherTest {
		return 0, false
	}
	return binary.BigEndian.Uint32(f[14:]), true
}

// to returns a test frame from a to b.
func (k *kit) to(b, a *vmnet.Interface, seq uint32) []byte {
	return frame(b.MAC(), a.MAC(), seq, minTest)
}

// poll calls fn until it reports true. It fails the case when that takes too
// long.
func (k *kit) poll(what string, fn func() bool) {
	k.Helper()
	for pause := 10 * time.Microsecond; !fn(); pause = min(2*pause, time.Millisecond) {
		if k.ctx.Err() != nil {
			k.Fatalf("%s: has not happened in %v", what, k.h.Patience)
		}
		time.Sleep(pause)
	}
}

// receive waits for a value from c. It fails the case when that takes too long.
func receive[T any](k *kit, what string, c <-chan T) (v T) {
	k.Helper()
	select {
	case v = <-c:
	case <-k.ctx.Done():
		k.Fatalf("%s: has not happened in %v", what, k.h.Patience)
	}
	return v
}

// silent fails the case when a value comes from c within a moment.
func silent[T any](k *kit, what string, c <-chan T) {
	k.Helper()
	select {
	case <-c:
		k.Fatalf("%s", what)
	case <-time.After(moment):
	}
}

// send writes frames, in order, and tries again as long as there is no room.
func (k *kit) send(from *vmnet.Interface, frames ...[]byte) {
	k.Helper()
	k.poll("sending", func() bool {
		n, err := from.WriteBatch(frames)
		if err != nil && !errors.Is(err, vmnet.BufferExhausted) {
			k.Fatalf("write: %v", err)
		}
		frames = frames[n:]
		return len(frames) == 0
	})
}

// tryRead returns the next test frame that is waiting, or nil.
func (k *kit) tryRead(i *vmnet.Interface) []byte {
	k.Helper()
	buf := make([]byte, i.MaxPacketSize())
	for {
		n, err := i.Read(buf)
		if errors.Is(err, vmnet.ErrNoPackets) {
			return nil
		}
		if err != nil {
			k.Fatalf("read: %v", err)
		}
		if _, ok := seqOf(buf[:n]); ok {
			return buf[:n]
		}
	}
}

// next polls for the next test frame.
func (k *kit) next(i *vmnet.Interface) (f []byte) {
	k.Helper()
	k.poll("a frame arriving", func() bool { f = k.tryRead(i); return f != nil })
	return f
}

// expect polls for the next test frame and compares it.
func (k *kit) expect(i *vmnet.Interface, want []byte) {
	k.Helper()
	if got := k.next(i); !bytes.Equal(got, want) {
		gs, _ := seqOf(got)
		ws, _ := seqOf(want)
		k.Fatalf("got frame %d of %d bytes, want frame %d of %d bytes, or the content differs", gs, len(got), ws, len(want))
	}
}

// nothing fails the case when a test frame arrives within a moment.
func (k *kit) nothing(i *vmnet.Interface) {
	k.Helper()
	for end := time.Now().Add(moment); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if f := k.tryRead(i); f != nil {
			seq, _ := seqOf(f)
			k.Fatalf("frame %d arrived, want none", seq)
		}
	}
}

// join sends frames both ways until each side has had one: a switch learns, and
// a bridge may need time until it forwards.
func (k *kit) join(a, b *vmnet.Interface) {
	k.Helper()
	var gotA, gotB bool
	k.poll("two interfaces of one network reaching each other", func() bool {
		k.sendJoin(a, b)
		k.sendJoin(b, a)
		gotA = gotA || k.seen(a, b)
		gotB = gotB || k.seen(b, a)
		return gotA && gotB
	})
}

func (k *kit) sendJoin(from, to *vmnet.Interface) {
	f := k.to(to, from, 0)
	binary.BigEndian.PutUint16(f[12:], etherJoin)
	k.send(from, f)
}

// seen drains i and reports whether a frame came from the other.
func (k *kit) seen(i, from *vmnet.Interface) (ok bool) {
	buf := make([]byte, i.MaxPacketSize())
	for {
		n, err := i.Read(buf)
		if err != nil {
			return ok
		}
		ok = ok || n >= vmnet.HeaderLen && bytes.Equal(buf[6:12], from.MAC())
	}
}

// background runs fn in a goroutine and returns a channel that gets its result.
// The caller makes sure that fn ends.
func background[T any](fn func() T) <-chan T {
	c := make(chan T, 1)
	go func() { c <- fn() }()
	return c
}
