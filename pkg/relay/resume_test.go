package relay_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// TestResync cuts a stream at every byte and looks that the next whole frame of
// the guest, and all after it, are found.
func TestResync(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	var stream []byte
	var starts []int
	for i := range 4 {
		f := bytes.Repeat([]byte{byte(i)}, 60+i)
		copy(f[6:], mac)
		starts = append(starts, len(stream))
		stream = append(binary.BigEndian.AppendUint32(stream, uint32(len(f))), f...)
	}
	for cut := range starts[3] {
		want := 0
		for _, s := range starts {
			if s >= cut {
				want++
			}
		}
		d := relay.NewDecoder(1514)
		d.Resync(mac, 0)
		got := 0
		for rest := stream[cut:]; len(rest) > 0; {
			n := copy(d.Room()[:min(7, len(rest))], rest) // in small parts
			d.Fill(n)
			rest = rest[n:]
			for f, why, ok := d.Next(); ok; f, why, ok = d.Next() {
				if why != relay.ReasonNone || f[20] != byte(4-want+got) {
					t.Fatalf("cut at %d: frame %d is %x, %v", cut, got, f[:21], why)
				}
				got++
			}
		}
		if got != want {
			t.Errorf("cut at %d: %d frames, want %d", cut, got, want)
		}
	}
}

// TestResyncGivesUp passes noise: the stream is out of step at last, and nothing is
// found.
func TestResyncGivesUp(t *testing.T) {
	d := relay.NewDecoder(1514)
	d.Resync(net.HardwareAddr{2, 0, 0, 0, 0, 9}, 0)
	for n := 0; n < 2<<20; {
		room := d.Room()
		clear(room)
		d.Fill(len(room))
		n += len(room)
		if _, why, ok := d.Next(); ok {
			if why != relay.ReasonOutOfStep || n < 1<<20 {
				t.Errorf("after %d bytes: %v", n, why)
			}
			return
		}
	}
	t.Error("it never gave up")
}

// TestCloseBetweenFrames ends a relay while its guest has a part of a frame only, and
// reads on: the socket, which another relay may go on with, then has the whole of it.
func TestCloseBetweenFrames(t *testing.T) {
	g := newRig(t, 9000, relay.Config{PeerWait: patience, CloseWait: patience})
	theirs := g.attach(t, unix.SOCK_STREAM, func(f *os.File, size int) (relay.Port, error) {
		raw, err := f.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 4096) })
		}
		if err != nil {
			t.Fatal(err)
		}
		return relay.NewStreamPort(f, size)
	})
	want := frame(9000, 1)
	if err := g.far.Write(want); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1, len(want)+64)
	_ = theirs.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(theirs, got); err != nil { // it has begun
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() { g.Close() })
	time.Sleep(20 * time.Millisecond) // so that it has, most likely
	rest, err := io.ReadAll(theirs)
	done.Wait()
	if got = append(got, rest...); err != nil || len(got) != 4+len(want) || !bytes.Equal(got[4:], want) {
		t.Errorf("%d bytes, %v, want the whole frame, %d", len(got), err, 4+len(want))
	}
}
