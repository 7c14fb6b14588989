package relay_test

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// sockets gives a relay both named sockets.
func (g *rig) sockets(t testing.TB, plain bool) (dir, dgram, stream string) {
	t.Helper()
	dir = shortDir(t)
	dgram, stream = dir+"/d.sock", dir+"/s.sock"
	listen := g.ListenDatagram
	if plain {
		listen = g.ListenPlainDatagram
	}
	if err := listen(listenDgram(t, dgram)); err != nil {
		t.Fatal(err)
	}
	if err := g.ListenStream(listenStream(t, stream)); err != nil {
		t.Fatal(err)
	}
	return dir, dgram, stream
}

// A caller is a guest of some kind that a test makes, uses and kills.
type caller struct {
	send func(frame []byte)
	recv func() []byte
	die  func()
}

// callers make guests of every kind.
var callers = map[string]func(t *testing.T, g *rig, dir, name string) caller{
	"dgram": func(t *testing.T, g *rig, dir, name string) caller {
		c := dial(t, dir, name, dir+"/d.sock")
		c.send(t, []byte("VFKT"))
		return caller{
			send: func(f []byte) { c.send(t, f) },
			recv: func() []byte { return c.recv(t) },
			die:  c.die,
		}
	},
	"stream": func(t *testing.T, g *rig, dir, name string) caller {
		c, err := net.Dial("unix", dir+"/s.sock")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return caller{
			send: func(f []byte) { write(t, c, prefixed(f)) },
			recv: func() []byte {
				_ = c.SetReadDeadline(time.Now().Add(patience))
				buf := make([]byte, 2000)
				n, err := c.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				return buf[4:n]
			},
			die: func() { c.Close() },
		}
	},
	"fd": func(t *testing.T, g *rig, dir, name string) caller {
		f := g.attach(t, unix.SOCK_DGRAM, relay.NewDatagramPort)
		return caller{
			send: func(b []byte) { write(t, f, b) },
			recv: func() []byte {
				_ = f.SetReadDeadline(time.Now().Add(patience))
				buf := make([]byte, 2000)
				n, err := f.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				return buf[:n]
			},
			die: func() { f.Close() },
		}
	},
}

// works checks that frames pass between the guest and the far end, both ways.
func (g *rig) works(t *testing.T, c caller, n int) {
	t.Helper()
	c.send(frame(60, n))
	wantFrame(t, g.recvFar(t), frame(60, n))
	if err := g.far.Write(frame(70, n)); err != nil {
		t.Fatal(err)
	}
	wantFrame(t, c.recv(), frame(70, n))
}

// Whatever kind the old guest was and the new one is, the new one replaces one
// that is gone.
func TestPeerReplacesOneThatIsGone(t *testing.T) {
	for from, old := range callers {
		for to, next := range callers {
			for _, plain := range []bool{false, true} {
				name := from + " by " + to
				if plain {
					name += " plain"
				}
				t.Run(name, func(t *testing.T) {
					g := newRig(t, 1500, relay.Config{})
					dir, _, _ := g.sockets(t, plain)
					a := old(t, g, dir, "a")
					g.works(t, a, 1)
					g.wantEvents(t, "+"+from)
					a.die()
					b := next(t, g, dir, "b")
					g.works(t, b, 2)
					g.wantEvents(t, "-"+from, "+"+to)
					if p := g.Peer(); p.Via != to {
						t.Errorf("peer %+v", p)
					}
				})
			}
		}
	}
}

// While a guest is alive a second one on a named socket is refused, and the first
// goes on; a new fd always wins.
func TestPeerAliveIsKept(t *testing.T) {
	for from, first := range callers {
		t.Run(from, func(t *testing.T) {
			g := newRig(t, 1500, relay.Config{})
			dir, dgram, stream := g.sockets(t, false)
			a := first(t, g, dir, "a")
			g.works(t, a, 1)
			g.wantEvents(t, "+"+from)

			b := dial(t, dir, "b", dgram)
			b.send(t, []byte("VFKT"))
			b.send(t, frame(60, 9))
			wantDrop(t, g.fromGuest, relay.ReasonOtherPeer, 2)
			c, err := net.Dial("unix", stream)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if n, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("read %d bytes on a connection that should be closed", n)
			}
			if s := g.Stats(); s.Refused != 1 {
				t.Errorf("refused %d", s.Refused)
			}
			if from == "fd" { // it was asked whether it is there
				if f := a.recv(); len(f) != 60 || f[12] != 0x88 || f[13] != 0xb5 {
					t.Errorf("probe %x", f)
				}
				if f := a.recv(); len(f) != 60 {
					t.Errorf("probe %x", f)
				}
			}
			g.works(t, a, 2)
			d := callers["fd"](t, g, dir, "")
			g.works(t, d, 3)
			g.wantEvents(t, "-"+from, "+fd")
			a.die()
		})
	}
}

// The end of a stream guest is noticed at once, that of a datagram guest by the
// next frame for it.
func TestPeerDeath(t *testing.T) {
	for kind, call := range callers {
		t.Run(kind, func(t *testing.T) {
			g := newRig(t, 1500, relay.Config{})
			dir, _, _ := g.sockets(t, false)
			a := call(t, g, dir, "a")
			g.works(t, a, 1)
			a.die()
			if kind != "stream" {
				if err := g.far.Write(frame(60, 1)); err != nil {
					t.Fatal(err)
				}
			}
			g.wantEvents(t, "+"+kind, "-"+kind)
			// A pump that was at work when the peer went may still have it in hand:
			// the frame that it takes then is lost to the peer that is gone.
			eventually(t, "a drop for no-peer", func() bool {
				if err := g.far.Write(frame(60, 1)); err != nil {
					t.Fatal(err)
				}
				return g.toGuest().Drops[relay.ReasonNoPeer.String()] > 0
			})
		})
	}
}

// Asked for it, the relay finds out without a frame for the guest.
func TestCheckPeer(t *testing.T) {
	for kind, call := range callers {
		t.Run(kind, func(t *testing.T) {
			g := newRig(t, 1500, relay.Config{})
			dir, _, _ := g.sockets(t, false)
			if p := g.CheckPeer(); p.Connected {
				t.Errorf("before: %+v", p)
			}
			a := call(t, g, dir, "a")
			g.works(t, a, 1)
			if p := g.CheckPeer(); !p.Connected || p.Via != kind {
				t.Errorf("alive: %+v", p)
			}
			a.die()
			if p := g.CheckPeer(); p.Connected {
				t.Errorf("dead: %+v", p)
			}
			g.wantEvents(t, "+"+kind, "-"+kind)
		})
	}
}

// The guest's file removed, as a guest that ends well does, is the same as dead.
func TestPeerNameRemoved(t *testing.T) {
	g := newRig(t, 1500, relay.Config{})
	dir, _, _ := g.sockets(t, false)
	a := callers["dgram"](t, g, dir, "a")
	g.works(t, a, 1)
	a.die()
	if err := os.Remove(dir + "/a"); err != nil {
		t.Fatal(err)
	}
	g.works(t, callers["dgram"](t, g, dir, "a"), 2) // the same name again
}

// A socket without a name cannot be answered and is no peer.
func TestPeerUnnamed(t *testing.T) {
	for _, plain := range []bool{false, true} {
		g := newRig(t, 1500, relay.Config{})
		_, dgram, _ := g.sockets(t, plain)
		c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: dgram, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		write(t, c, frame(60, 1))
		wantDrop(t, g.fromGuest, relay.ReasonUnnamed, 1)
		if g.Peer().Connected {
			t.Error("a peer")
		}
	}
}

// What is not a frame makes nobody a peer on the named socket.
func TestPeerNamedMalformed(t *testing.T) {
	for _, plain := range []bool{false, true} {
		g := newRig(t, 1500, relay.Config{})
		dir, dgram, _ := g.sockets(t, plain)
		a := dial(t, dir, "a", dgram)
		for _, size := range []int{0, 13, maxFrame + 1, 65550} {
			a.send(t, frame(size, 0))
		}
		wantDrop(t, g.fromGuest, relay.ReasonRunt, 2)
		wantDrop(t, g.fromGuest, relay.ReasonTooBig, 2)
		if g.Peer().Connected {
			t.Error("a peer")
		}
		a.send(t, []byte("VFKT"))
		wantDrop(t, g.fromGuest, relay.ReasonGreeting, 1)
		g.wantEvents(t, "+dgram")
	}
}

// A named guest that is not connected to us (QEMU's dgram, which gives a name with
// every send) has a queue of net.unix.max_dgram_qlen datagrams: sending more waits
// and goes on.
func TestPeerUnconnected(t *testing.T) {
	for _, plain := range []bool{false, true} {
		g := newRig(t, 1500, relay.Config{PeerWait: patience})
		dir, dgram, _ := g.sockets(t, plain)
		c := listenDgram(t, dir+"/q")
		defer c.Close()
		to := &net.UnixAddr{Name: dgram, Net: "unixgram"}
		if _, err := c.WriteTo(frame(60, 0), to); err != nil {
			t.Fatal(err)
		}
		wantFrame(t, g.recvFar(t), frame(60, 0))
		const total = 300
		in(func() {
			for i := range total {
				if err := g.far.Write(frame(60, i)); err != nil {
					t.Error(err)
				}
			}
		}, func() {
			buf := make([]byte, 2000)
			_ = c.SetReadDeadline(time.Now().Add(patience))
			for i := range total {
				n, err := c.Read(buf)
				if err != nil {
					t.Errorf("frame %d: %v; %+v", i, err, g.toGuest())
					return
				}
				wantFrame(t, buf[:n], frame(60, i))
			}
		})
	}
}

// The relay removes no file, and refuses a socket without a name.
func TestListen(t *testing.T) {
	g := newRig(t, 1500, relay.Config{})
	_, dgram, stream := g.sockets(t, false)
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: dgram, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.ListenDatagram(c); err == nil || !strings.Contains(err.Error(), "named") {
		t.Errorf("a connected socket: %v", err)
	}
	g.Close()
	for _, path := range []string{dgram, stream} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}
