package relay_test

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// alone is a stage that notices when it is not.
type alone struct {
	busy  atomic.Bool
	twice atomic.Uint64
}

func (a *alone) FromGuest(f []byte, reply func([]byte)) (relay.Verdict, relay.Reason) {
	if a.busy.Swap(true) {
		a.twice.Add(1)
	}
	reply(f)
	a.busy.Store(false)
	return relay.Pass, relay.ReasonNone
}

// Guests of all kinds come and go at once, frames fly both ways, and the relay is
// closed in the middle of it: nothing hangs, stages see one frame at a time,
// events make sense, no descriptor is left.
func TestPeerStorm(t *testing.T) {
	before := countFDs(t)
	stage := &alone{}
	g := newRig(t, 1500, relay.Config{Stages: []relay.Stage{stage}, PeerWait: time.Millisecond})
	dir, dgram, stream := g.sockets(t, false)
	var stop atomic.Bool
	until := func(fn func(i int)) func() {
		return func() {
			for i := 0; !stop.Load(); i++ {
				fn(i)
			}
		}
	}
	frames := [][]byte{frame(60, 1), frame(1514, 2), frame(700, 3)}
	talk := func(c interface{ Write([]byte) (int, error) }, framed bool) {
		for _, f := range frames {
			if framed {
				f = prefixed(f)
			}
			_, _ = c.Write(f) // it may be refused or replaced at any time
		}
	}
	fd := func(typ int, plain bool) func(int) {
		open := relay.NewStreamPort
		if typ == unix.SOCK_DGRAM {
			open = relay.NewDatagramPort
		}
		if plain {
			open = relay.NewPlainDatagramPort
		}
		return func(int) {
			ours, theirs := socketpair(t, typ)
			p, err := open(ours, maxFrame)
			if err != nil {
				t.Error(err)
				return
			}
			g.Attach(p, "fd")
			_ = theirs.SetDeadline(time.Now().Add(time.Millisecond))
			talk(theirs, typ == unix.SOCK_STREAM)
			theirs.Close()
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		in(
			until(fd(unix.SOCK_DGRAM, false)), until(fd(unix.SOCK_DGRAM, true)), until(fd(unix.SOCK_STREAM, false)),
			until(func(int) {
				if c, err := net.Dial("unix", stream); err == nil {
					_ = c.SetDeadline(time.Now().Add(time.Millisecond))
					talk(c, true)
					c.Close()
				}
			}),
			until(func(int) {
				to, from := &net.UnixAddr{Name: dgram, Net: "unixgram"}, &net.UnixAddr{Name: dir + "/g", Net: "unixgram"}
				if c, err := net.DialUnix("unixgram", from, to); err == nil {
					_ = c.SetDeadline(time.Now().Add(time.Millisecond))
					talk(c, false)
					c.Close()
				}
				_ = unix.Unlink(from.Name)
			}),
			until(func(int) { _, _ = g.far.WriteBatch(frames); time.Sleep(50 * time.Microsecond) }),
			until(func(int) { g.CheckPeer(); g.Stats(); time.Sleep(time.Millisecond) }),
			func() { // events alternate: nobody comes twice without having gone
				here := false
				for !stop.Load() {
					select {
					case e := <-g.events:
						if e.Connected == here {
							t.Errorf("event %+v, connected before: %v", e, here)
						}
						here = e.Connected
					case <-time.After(10 * time.Millisecond):
					}
				}
			},
		)
	}()
	time.Sleep(300 * time.Millisecond) // of storm
	g.Close()
	stop.Store(true)
	for open := true; open; { // a callback must not find the channel full
		select {
		case <-g.events:
		case <-done:
			open = false
		}
	}
	if n := stage.twice.Load(); n > 0 {
		t.Errorf("a stage was called %d times while it ran", n)
	}
	eventually(t, "all descriptors closed", func() bool { return countFDs(t) <= before })
}
