package handover_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/handover"
)

func option(t *testing.T, f *os.File, opt int) (v int) {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	cerr := raw.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, opt) })
	if cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return v
}

func flags(t *testing.T, f *os.File, cmd int) (v int) {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	cerr := raw.Control(func(fd uintptr) { v, err = unix.FcntlInt(fd, cmd, 0) })
	if cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return v
}

func TestPair(t *testing.T) {
	for _, kind := range []string{handover.KindDgram, handover.KindStream} {
		for _, maxFrame := range []int{1514, 9014, 65550} {
			for _, offload := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/offload=%v", kind, maxFrame, offload), func(t *testing.T) {
					testPair(t, kind, maxFrame, offload)
				})
			}
		}
	}
}

func testPair(t *testing.T, kind string, maxFrame int, offload bool) {
	noFDLeak(t)
	guest, host, err := handover.Pair(kind, maxFrame, offload)
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	defer host.Close()
	gs, gr := option(t, guest, unix.SO_SNDBUF), option(t, guest, unix.SO_RCVBUF)
	hs, hr := option(t, host, unix.SO_SNDBUF), option(t, host, unix.SO_RCVBUF)
	t.Logf("guest: send %d receive %d; host: send %d receive %d", gs, gr, hs, hr)
	if gr < 4*gs {
		t.Errorf("guest's receive buffer %d: want at least 4 times its send buffer %d", gr, gs)
	}
	if hs < gs {
		t.Errorf("host's send buffer %d: want at least the guest's %d: it is the queue on Linux", hs, gs)
	}
	for _, f := range []*os.File{guest, host} {
		if got, err := handover.Kind(f); err != nil || got != kind {
			t.Errorf("Kind = %q, %v; want %q", got, err, kind)
		}
		if flags(t, f, unix.F_GETFD)&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s: not close-on-exec", f.Name())
		}
	}
	if flags(t, guest, unix.F_GETFL)&unix.O_NONBLOCK != 0 {
		t.Error("guest's end is non-blocking")
	}
	if flags(t, host, unix.F_GETFL)&unix.O_NONBLOCK == 0 {
		t.Error("host's end is blocking")
	}
	// The largest frame really passes, both ways.
	frame := bytes.Repeat([]byte{0xab}, maxFrame)
	for _, ends := range [][2]*os.File{{guest, host}, {host, guest}} {
		if _, err := ends[0].Write(frame); err != nil {
			t.Fatalf("write a frame of %d bytes: %v", maxFrame, err)
		}
		buf, got := make([]byte, maxFrame+1), 0
		for got < maxFrame { // a stream may come in parts
			n, err := ends[1].Read(buf[got:])
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
		if !bytes.Equal(buf[:got], frame) {
			t.Fatalf("read %d bytes that differ from the %d written", got, maxFrame)
		}
	}
}

func TestPairRefuses(t *testing.T) {
	noFDLeak(t)
	for _, tt := range []struct {
		kind     string
		maxFrame int
	}{
		{"tap", 1514}, {"", 1514}, {"dgram", 13}, {"dgram", 0}, {"stream", -1}, {"stream", 1 << 20},
	} {
		if g, h, err := handover.Pair(tt.kind, tt.maxFrame, false); err == nil {
			t.Errorf("Pair(%q, %d) succeeded", tt.kind, tt.maxFrame)
			g.Close()
			h.Close()
		}
	}
}

// A batch of frames fits the way to the guest without anybody reading: on Linux
// that depends on the host's send buffer alone.
func TestPairQueue(t *testing.T) {
	guest, host, err := handover.Pair(handover.KindDgram, 1514, false)
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	defer host.Close()
	frame := make([]byte, 1514)
	raw, err := host.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		for n < 1<<16 && unix.Send(int(fd), frame, unix.MSG_DONTWAIT) == nil {
			n++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d frames of %d bytes queued", n, len(frame))
	if n < 64 {
		t.Errorf("%d frames fit the queue: want a batch of 64 at least", n)
	}
}
