package e2e_test

import (
	"net"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/guest"
)

// TestOffload has segments of many times the MTU cross in one piece, from a guest to
// the outside and back, for a guest that was told of it at the hand-over.
func TestOffload(t *testing.T) {
	inWorlds(t, offloaded)
}

func offloaded(t *testing.T, w *world) {
	if w.name == "tap" { // its frames with a header are the kernel's: see conformance/tap
		m := w.machine(t, map[string]any{"offload": true})
		if p, err := m.AddPush(soon(t), "a"); err == nil || !strings.Contains(err.Error(), "offload") {
			t.Errorf("ADD: %v, %v, want it refused", p, err)
		}
		return
	}
	for _, kind := range []string{"dgram", "stream"} {
		t.Run(kind, func(t *testing.T) {
			m := w.machine(t, map[string]any{"offload": true, "frames": kind})
			p, err := m.AddPush(soon(t), "a")
			if err != nil {
				t.Fatal(err)
			}
			if !p.Message.Offload || p.Message.MaxFrameSize < 65000 || p.Message.MTU != 1500 {
				t.Errorf("the runtime was told %+v", p.Message)
			}
			port, err := guest.OpenPort(p.File, p.Message.MaxFrameSize)
			if err != nil {
				t.Fatal(err)
			}
			mac, err := net.ParseMAC(p.Message.MAC)
			if err != nil {
				t.Fatal(err)
			}
			g, err := guest.New(port, guest.Config{MAC: mac, MTU: p.Message.MTU, Offload: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { g.Close() })
			if _, err := g.DHCP(soon(t)); err != nil {
				t.Fatal(err)
			}
			const size = 8 << 20
			before := g.Stats()
			if r := upload(t, w, g, p.Result, size); r.Bytes != size {
				t.Errorf("%d bytes arrived outside, want %d", r.Bytes, size)
			}
			if r := download(t, w, g, p.Result, size); r.Bytes != size {
				t.Errorf("%d bytes arrived in the guest, want %d", r.Bytes, size)
			}
			s := g.Stats()
			// Acknowledgements are half of the frames, more or less.
			if n := s.TxFrames - before.TxFrames; n > size/1460 {
				t.Errorf("%d frames to the outside: segments did not cross in one piece", n)
			}
			// The tap that is libvmnet's outside has no offload.
			if n := s.RxFrames - before.RxFrames; n > size/1460 && w.name == "netstack" {
				t.Errorf("%d frames to the guest: segments did not cross in one piece", n)
			}
			t.Logf("%d frames out, %d frames in, for %d MiB each way", s.TxFrames-before.TxFrames, s.RxFrames-before.RxFrames, size>>20)
			detach(t, m, "a", g)
		})
	}
}
