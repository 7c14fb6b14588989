package relay

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// What fits by what the system said, however long ago, goes into the socket whole,
// whatever the reader does.
func TestRoom(t *testing.T) {
	for _, sndbuf := range []int{64 << 10, 1 << 20} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fds[0])
		defer unix.Close(fds[1])
		if err := unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUF, sndbuf); err != nil {
			t.Fatal(err)
		}
		testRoom(t, fds[0], fds[1])
	}
}

func testRoom(t *testing.T, tx, rx int) {
	rnd := rand.New(rand.NewPCG(1, 2))
	slab, in := make([]byte, 65550), make([]byte, 512<<10)
	var v vector
	v.init(maxBatch)
	full, asked := 0, 0
	for range 3000 {
		largest := []int{60, 60, 1514, 9014, 65550}[rnd.IntN(5)]
		frames := make([][]byte, 1+rnd.IntN(maxBatch))
		for i := range frames {
			frames[i] = slab[:14+rnd.IntN(largest-13)]
		}
		before := v.room
		fit := v.room.fitting(tx, frames, 0)
		if v.room.left > before.left || len(fit) < len(frames) {
			asked++
		}
		if len(fit) == 0 {
			full++
			_, _ = unix.Read(rx, in[:1+rnd.IntN(len(in)-1)]) // there is something
			continue
		}
		v.room = before // send asks for itself
		n, e := v.send(tx, frames, 0)
		if _, off := advance(fit, 0, n); e != 0 || off != 0 {
			t.Fatalf("%d of %d bytes of frame %d were taken, %v", off, prefixLen+len(fit[0]), len(fit), e)
		}
	}
	if full == 0 || asked > 2500 {
		t.Errorf("the queue was full %d times, the system was asked %d times", full, asked)
	}
}
