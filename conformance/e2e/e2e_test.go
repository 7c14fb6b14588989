package e2e_test

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/guest"
)

// TestWays takes two guests through everything, over every kind of frames.
func TestWays(t *testing.T) {
	inWorlds(t, func(t *testing.T, w *world) {
		for _, how := range ways() {
			t.Run(strings.ReplaceAll(how.name, " ", "-"), func(t *testing.T) { everything(t, w, how) })
		}
	})
}

func everything(t *testing.T, w *world, how way) {
	m := w.machine(t, map[string]any{"frames": how.frames})
	portA, ra := how.take(t, m, "a")
	portB, rb := how.take(t, m, "b")
	a, b := newGuest(t, portA, ra), newGuest(t, portB, rb)
	addrA, gw := first(t, ra)
	addrB, _ := first(t, rb)
	page := w.page(t, addrA)

	if mac, err := a.ARP(soon(t), gw); err != nil || len(mac) != 6 {
		t.Errorf("ARP of the gateway: %s, %v", mac, err)
	}
	for g, others := range map[*guest.Guest][]netip.Addr{a: {gw, addrB.Addr()}, b: {gw, addrA.Addr()}} {
		for _, other := range others {
			if _, err := g.Ping(soon(t), other); err != nil {
				t.Error(err)
			}
		}
		if got, err := g.LookupHost(soon(t), "gateway.vm.internal"); err != nil || got[0] != gw {
			t.Errorf("gateway.vm.internal: %v, %v, want %s", got, err, gw)
		}
		if body := fetch(t, g, page); strings.Count(body, "page of the host") != 1000 {
			t.Errorf("the page outside has %d bytes", len(body))
		}
		if _, err := g.Renew(soon(t)); err != nil {
			t.Error(err)
		}
	}
	pages(t, a, b, addrA.Addr(), addrB.Addr())
	counted(t, w, m, "a", "b")
	detach(t, m, "a", a)
	if _, err := b.Ping(soon(t), gw); err != nil {
		t.Errorf("after DEL of the other: %v", err)
	}
	detach(t, m, "b", b)
	empty(t, m)
}

// pages has each guest fetch a page from the other.
func pages(t *testing.T, a, b *guest.Guest, addrA, addrB netip.Addr) {
	for server, client := range map[*guest.Guest]*guest.Guest{a: b, b: a} {
		l, err := server.Listen(80)
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.RemoteAddr)
		})}
		done := make(chan struct{})
		go func() { defer close(done); _ = srv.Serve(l) }()
		to, from := addrA, addrB
		if server == b {
			to, from = addrB, addrA
		}
		if body := fetch(t, client, netip.AddrPortFrom(to, 80)); !strings.HasPrefix(body, from.String()+":") {
			t.Errorf("the guest at %s saw %q, want %s", to, body, from)
		}
		srv.Close()
		l.Close()
		<-done
	}
}

// counted checks what the shim tells of the attachments while they are used.
func counted(t *testing.T, w *world, m *e2e.Machine, ids ...string) {
	for _, id := range ids {
		a, err := m.Client.Attachment(soon(t), m.Network(), id, e2e.IfName)
		if err != nil {
			t.Error(err)
			continue
		}
		c := a.Counters
		if !a.Peer.Connected || c.FromGuest.Frames == 0 || c.ToGuest.Frames == 0 || c.Answered < 2 {
			t.Errorf("%s: connected %v, counters %+v", id, a.Peer.Connected, c)
		}
		if w.floods {
			delete(c.ToGuest.Drops, "no-peer")
		}
		if len(c.ToGuest.Drops) > 0 {
			t.Errorf("%s: frames were dropped: %v", id, c.ToGuest.Drops)
		}
	}
}

// TestRestartOfGuest has a guest end and another take its place on the socket,
// with the same address, as a virtual machine that restarts.
func TestRestartOfGuest(t *testing.T) {
	inWorlds(t, func(t *testing.T, w *world) {
		for _, kind := range []string{"dgram", "stream"} {
			t.Run(kind, func(t *testing.T) {
				m := w.machine(t, map[string]any{"frames": kind})
				port, r := push(t, m, "a")
				_, gw := first(t, r)
				for round := range 3 {
					g := newGuest(t, port, r)
					if _, err := g.Ping(soon(t), gw); err != nil {
						t.Errorf("round %d: %v", round, err)
					}
					if err := g.Close(); err != nil {
						t.Error(err)
					}
					port = reach(t, m, "a", kind)
				}
				port.Close()
				detach(t, m, "a", nil)
			})
		}
	})
}

// TestPull asks the shim for another fd, which takes the place of the first.
func TestPull(t *testing.T) {
	inWorlds(t, func(t *testing.T, w *world) {
		m := w.machine(t, nil)
		port, r := push(t, m, "a")
		old := newGuest(t, port, r)
		msg, f, err := m.Client.Frames(soon(t), m.Network(), "a", e2e.IfName)
		if err != nil {
			t.Fatal(err)
		}
		if port, err = guest.OpenPort(f, msg.MaxFrameSize); err != nil {
			t.Fatal(err)
		}
		g := newGuest(t, port, r)
		_, gw := first(t, r)
		if _, err := g.Ping(soon(t), gw); err != nil {
			t.Error(err)
		}
		old.Close()
		detach(t, m, "a", g)
	})
}

// TestKill ends the shim, as one that crashes and as one that is stopped. The
// next ADD starts another one, in which the first attachment is there with its
// MAC and address, for its guest to connect to again.
func TestKill(t *testing.T) {
	inWorlds(t, func(t *testing.T, w *world) {
		for _, kind := range []string{"dgram", "stream"} {
			for name, signal := range map[string]syscall.Signal{"kill": syscall.SIGKILL, "stop": syscall.SIGTERM} {
				t.Run(kind+"-"+name, func(t *testing.T) { restart(t, w, kind, signal) })
			}
		}
	})
}

func restart(t *testing.T, w *world, kind string, signal syscall.Signal) {
	m := w.machine(t, map[string]any{"frames": kind})
	port, ra := push(t, m, "a")
	a := newGuest(t, port, ra)
	s, err := m.Client.Status(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	if signal == syscall.SIGKILL { // the keeper too; with it, guests stay connected (TestKeeper)
		if err := errors.Join(syscall.Kill(s.PID, syscall.SIGSTOP), syscall.Kill(s.Keeper, signal)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(s.PID, signal); err != nil {
		t.Fatal(err)
	}
	wait(t, "the shim's end", func() bool { return !e2e.Running(s.PID) })
	a.Close()

	port, rb := push(t, m, "b")
	b := newGuest(t, port, rb)
	again, err := m.Client.Attachment(soon(t), m.Network(), "a", e2e.IfName)
	if err != nil {
		t.Fatal(err)
	}
	if again.MAC != ra.Interfaces[0].Mac {
		t.Errorf("after the restart the MAC is %s, before it was %s", again.MAC, ra.Interfaces[0].Mac)
	}
	a = newGuest(t, reach(t, m, "a", kind), ra) // has the same address as ever, or this fails
	addrA, gw := first(t, ra)
	addrB, _ := first(t, rb)
	if addrA == addrB {
		t.Errorf("both have %s", addrA)
	}
	for _, addr := range []netip.Addr{addrA.Addr(), gw} {
		if _, err := b.Ping(soon(t), addr); err != nil {
			t.Error(err)
		}
	}
	if err := m.Check(soon(t), "b", rb.Interfaces[0].Sandbox); err != nil {
		t.Error(err)
	}
	detach(t, m, "a", a)
	detach(t, m, "b", b)
}

// TestDrain moves a few MiB both ways, and counts them.
func TestDrain(t *testing.T) {
	const total = 2 << 20
	inWorlds(t, func(t *testing.T, w *world) {
		for _, how := range ways()[:2] {
			t.Run(strings.ReplaceAll(how.name, " ", "-"), func(t *testing.T) {
				m := w.machine(t, map[string]any{"frames": how.frames})
				port, r := how.take(t, m, "a")
				g := newGuest(t, port, r)
				if rate := upload(t, w, g, r, total); rate.Bytes != total {
					t.Errorf("sent %d bytes, want %d", rate.Bytes, total)
				}
				if rate := download(t, w, g, r, total); rate.Bytes != total {
					t.Errorf("received %d bytes, want %d", rate.Bytes, total)
				}
				detach(t, m, "a", g)
			})
		}
	})
}

// wait polls until fn reports true.
func wait(t testing.TB, what string, fn func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !fn(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: has not come", what)
		}
	}
}
