package e2e_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/guest"
)

// TestOffload has segments of many times the MTU cross in one piece, from a guest to
// the outside and back, and to another guest, for guests that were told of it at the
// hand-over: with a virtio-net header before each frame where that was asked for.
func TestOffload(t *testing.T) {
	inWorlds(t, func(t *testing.T, w *world) {
		for _, kind := range []string{"dgram", "stream"} {
			t.Run(kind, func(t *testing.T) { offloaded(t, w, kind, false) })
			t.Run(kind+", header", func(t *testing.T) { offloaded(t, w, kind, true) })
		}
	})
}

func offloaded(t *testing.T, w *world, kind string, header bool) {
	keys := map[string]any{"offload": true, "frames": kind}
	if header {
		keys["vnetHeader"] = true
	}
	m := w.machine(t, keys)
	a, pa := pushWhole(t, m, "a", header)
	b, _ := pushWhole(t, m, "b", header)
	const size = 4 << 20
	before := a.Stats()
	if r := upload(t, w, a, pa.Result, size); r.Bytes != size {
		t.Errorf("%d bytes arrived outside, want %d", r.Bytes, size)
	}
	up := a.Stats() // before acknowledgements of what comes
	if r := download(t, w, a, pa.Result, size); r.Bytes != size {
		t.Errorf("%d bytes arrived in the guest, want %d", r.Bytes, size)
	}
	s := a.Stats()
	if n := up.TxFrames - before.TxFrames; n > size/1460 {
		t.Errorf("%d frames to the outside: segments did not cross in one piece", n)
	}
	// The tap that is libvmnet's outside has no offload.
	if !strings.HasPrefix(w.name, "vmnet") && s.RxLarge == 0 {
		t.Errorf("%+v: segments from the outside did not cross in one piece", s)
	}
	t.Logf("%d frames out, %d frames in, %d of them large, for %d MiB each way",
		s.TxFrames-before.TxFrames, s.RxFrames-before.RxFrames, s.RxLarge, size>>20)

	between(t, a, b, size)
	if s := b.Stats(); s.RxLarge == 0 || header && s.RxWhole == 0 {
		t.Errorf("%+v: segments from the other guest did not cross in one piece", s)
	}
	detach(t, m, "a", a)
	detach(t, m, "b", b)
}

// pushWhole makes an attachment and a guest of it that takes large frames.
func pushWhole(t *testing.T, m *e2e.Machine, id string, header bool) (*guest.Guest, *e2e.Pushed) {
	t.Helper()
	p, err := m.AddPush(soon(t), id)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	if header {
		want = 12
	}
	if !p.Message.Offload || p.Message.MaxFrameSize != 65550 || p.Message.MTU != 1500 || p.Message.VnetHeader != want {
		t.Errorf("the runtime was told %+v", p.Message)
	}
	port, err := guest.OpenPort(p.File, p.Message.MaxFrameSize+p.Message.VnetHeader)
	if err != nil {
		t.Fatal(err)
	}
	mac, err := net.ParseMAC(p.Message.MAC)
	if err != nil {
		t.Fatal(err)
	}
	g, err := guest.New(port, guest.Config{MAC: mac, MTU: p.Message.MTU, Offload: true, VnetHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	if _, err := g.DHCP(soon(t)); err != nil {
		t.Fatal(err)
	}
	return g, p
}

// between sends n bytes from one guest to another.
func between(t *testing.T, from, to *guest.Guest, n int64) {
	t.Helper()
	l, err := to.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan int64, 1)
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- -1
			return
		}
		n, _ := guest.Drain(c)
		got <- n
	}()
	addr := netip.AddrPortFrom(to.Lease().Address.Addr(), 80)
	c, err := from.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := guest.Send(ctx, c, n); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r != n {
		t.Errorf("%d bytes arrived in the other guest, want %d", r, n)
	}
}
