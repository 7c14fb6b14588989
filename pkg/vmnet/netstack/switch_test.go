package netstack_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func rawFrame(dst, src net.HardwareAddr, mark byte, size int) []byte {
	f := make([]byte, size)
	copy(f, dst)
	copy(f[6:], src)
	f[12], f[13], f[14] = 0x88, 0xb5, mark // local experimental ethertype
	return f
}

func send(t testing.TB, d vmnet.Device, frames ...[]byte) {
	t.Helper()
	for len(frames) > 0 {
		n, err := d.WriteBatch(frames)
		if err != nil {
			t.Fatalf("write: %v", err)
		}
		frames = frames[n:]
	}
}

// drain returns the marks of the frames waiting at d. Switching is done when
// WriteBatch returns, so nothing has to be waited for.
func drain(t testing.TB, d vmnet.Device) (marks []byte) {
	t.Helper()
	i := d.Info()
	bufs, sizes := make([][]byte, i.ReadBatch), make([]int, i.ReadBatch)
	for k := range bufs {
		bufs[k] = make([]byte, i.MaxPacketSize)
	}
	for {
		n, err := d.ReadBatch(bufs, sizes)
		if errors.Is(err, vmnet.ErrNoPackets) {
			return marks
		}
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		for _, b := range bufs[:n] {
			marks = append(marks, b[14])
		}
	}
}

func expectMarks(t *testing.T, what string, d vmnet.Device, want ...byte) {
	t.Helper()
	if got := drain(t, d); string(got) != string(want) {
		t.Errorf("%s got frames %v, want %v", what, got, want)
	}
}

// TestSwitchLearning follows an address behind a guest: flooded while unknown,
// sent to one port once known, moved.
func TestSwitchLearning(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	a, b, c := startDevice(t, n), startDevice(t, n), startDevice(t, n)
	nested := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	toNested := func(mark byte) []byte { return rawFrame(nested, a.Info().MAC, mark, 60) }

	send(t, a, toNested(1))
	expectMarks(t, "b, unknown", b, 1)
	expectMarks(t, "c, unknown", c, 1)

	send(t, b, rawFrame(a.Info().MAC, nested, 2, 60))
	expectMarks(t, "a", a, 2)
	expectMarks(t, "c, of what is not for it", c)
	send(t, a, toNested(3))
	expectMarks(t, "b, known", b, 3)
	expectMarks(t, "c, known", c)

	send(t, c, rawFrame(a.Info().MAC, nested, 4, 60))
	send(t, a, toNested(5))
	expectMarks(t, "b, moved away", b)
	expectMarks(t, "c, moved here", c, 5)
}

// TestSwitchForgets has an address that is not heard of for long.
func TestSwitchForgets(t *testing.T) {
	n := openNetwork(t, netstack.Config{Limits: netstack.Limits{MACAge: 100 * time.Millisecond}}, nil)
	a, b, c := startDevice(t, n), startDevice(t, n), startDevice(t, n)
	nested := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	send(t, c, rawFrame(a.Info().MAC, nested, 1, 60))
	expectMarks(t, "a", a, 1)
	wait(t, "the address to be forgotten", func() bool { return n.Stats().MACs == 3 })
	send(t, a, rawFrame(nested, a.Info().MAC, 2, 60))
	expectMarks(t, "b, forgotten", b, 2)
	expectMarks(t, "c, forgotten", c, 2)
}

// TestSwitchSpoof checks that no guest takes the gateway's address or another's.
func TestSwitchSpoof(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	a, b, c := startDevice(t, n), startDevice(t, n), startDevice(t, n)
	group := net.HardwareAddr{3, 0, 0, 0, 0, 1}
	for _, src := range []net.HardwareAddr{vmnet.GatewayMAC(t.Name()), b.Info().MAC, group, broadcast} {
		send(t, c, rawFrame(a.Info().MAC, src, 1, 60))
	}
	send(t, a, rawFrame(b.Info().MAC, a.Info().MAC, 2, 60))
	expectMarks(t, "a", a)
	expectMarks(t, "b", b, 2)
	if d := n.Stats().Drops["bad-source"]; d != 4 {
		t.Errorf("bad-source counted %d times, want 4", d)
	}
}

func TestSwitchDrops(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	a, b := startDevice(t, n), startDevice(t, n)
	send(t, a,
		rawFrame(a.Info().MAC, a.Info().MAC, 1, 60),                                // to itself
		rawFrame(net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0}, a.Info().MAC, 2, 60),    // spanning tree
		rawFrame(net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0x10}, a.Info().MAC, 3, 60), // just behind the block
		rawFrame(vmnet.GatewayMAC(t.Name()), a.Info().MAC, 4, 60),                  // a protocol it does not speak
	)
	expectMarks(t, "a", a)
	expectMarks(t, "b", b, 3)
	d := n.Stats().Drops
	if d["same-port"] != 1 || d["reserved-group"] != 1 || d["ethertype"] != 2 {
		t.Errorf("drops: %v", d)
	}
}

func TestSwitchIsolated(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, func(c *vmnet.NetworkConfig) { c.Isolated = true })
	a, b := newGuest(t, n, "192.168.127.2"), startDevice(t, n)
	send(t, b, rawFrame(a.dev.Info().MAC, b.Info().MAC, 1, 60))
	a.meet() // the gateway is still there
	send(t, a.dev, rawFrame(b.Info().MAC, a.dev.Info().MAC, 2, 60), rawFrame(broadcast, a.dev.Info().MAC, 3, 60))
	for _, mark := range drain(t, b) {
		if mark == 2 || mark == 3 {
			t.Errorf("b got frame %d of a", mark)
		}
	}
	if d := n.Stats().Drops["isolated"]; d < 2 {
		t.Errorf("isolated counted %d times, want at least 2", d)
	}
}

// TestSwitchFlood checks that one guest's storm is cut, and another guest's
// broadcasts are not.
func TestSwitchFlood(t *testing.T) {
	const burst = 10
	n := openNetwork(t, netstack.Config{Limits: netstack.Limits{FloodRate: 1, FloodBurst: burst}}, nil)
	a, b, c := startDevice(t, n), startDevice(t, n), startDevice(t, n)
	start, sent, got := time.Now(), 0, 0
	wait(t, "a storm", func() bool { // a slow one is none, and passes
		for range 5 * burst {
			send(t, a, rawFrame(broadcast, a.Info().MAC, 1, 60))
		}
		sent += 5 * burst
		got += len(drain(t, b))
		return sent > 2*got
	})
	if most := burst + 1 + int(time.Since(start).Seconds()); got < burst || got > most {
		t.Errorf("b got %d of %d broadcasts, want %d to %d", got, sent, burst, most)
	}
	drain(t, c)
	send(t, b, rawFrame(broadcast, b.Info().MAC, 7, 60))
	expectMarks(t, "c, after a's storm", c, 7)
	send(t, a, rawFrame(c.Info().MAC, a.Info().MAC, 8, 60))
	expectMarks(t, "c, unicast in a's storm", c, 8)
	if d := n.Stats().Drops["flood-limit"]; d != uint64(sent-got) {
		t.Errorf("flood-limit counted %d times, want %d", d, sent-got)
	}
}

// TestSwitchMACLimit has one guest send from more addresses than it may have.
func TestSwitchMACLimit(t *testing.T) {
	const limit = 8
	n := openNetwork(t, netstack.Config{Limits: netstack.Limits{MACsPerPort: limit}}, nil)
	a, b := startDevice(t, n), startDevice(t, n)
	for i := range byte(50) {
		send(t, a, rawFrame(b.Info().MAC, net.HardwareAddr{2, 1, 1, 1, 1, i}, i, 60))
	}
	if got := len(drain(t, b)); got != 50 {
		t.Errorf("b got %d frames, want all 50: only learning is limited", got)
	}
	s := n.Stats()
	if s.MACs != limit+1 || s.Drops["learn-limit"] != 50-(limit-1) {
		t.Errorf("stats: %+v, want %d addresses of a and 1 of b", s, limit)
	}
}

// TestSlowGuest leaves one guest's queue full: only its own frames are lost.
func TestSlowGuest(t *testing.T) {
	const frames = 64
	n := openNetwork(t, netstack.Config{Limits: netstack.Limits{QueueFrames: frames}}, nil)
	a, slow, quick := startDevice(t, n), startDevice(t, n), startDevice(t, n)
	for i := range 4 * frames {
		send(t, a, rawFrame(slow.Info().MAC, a.Info().MAC, byte(i), 1514))
		send(t, a, rawFrame(quick.Info().MAC, a.Info().MAC, byte(i), 1514))
		expectMarks(t, "the quick guest", quick, byte(i))
	}
	if q, ok := slow.(vmnet.Queuer); !ok || q.Queued() != frames*1514 {
		t.Errorf("%v tells what waits: %t", slow, ok)
	}
	if got := drain(t, slow); len(got) != frames || got[0] != 0 || got[frames-1] != frames-1 {
		t.Errorf("the slow guest has %d frames, want its first %d", len(got), frames)
	}
	if n := slow.(vmnet.Queuer).Queued(); n != 0 {
		t.Errorf("%d bytes wait after all were read", n)
	}
	if d := n.Stats().Drops["queue-full"]; d != 3*frames {
		t.Errorf("queue-full counted %d times, want %d", d, 3*frames)
	}
}

// TestQueueBytes bounds a queue by bytes, and still lets one large frame through.
func TestQueueBytes(t *testing.T) {
	n := openNetwork(t, netstack.Config{Limits: netstack.Limits{QueueBytes: 100}}, nil)
	a, b := startDevice(t, n), startDevice(t, n)
	send(t, a, rawFrame(b.Info().MAC, a.Info().MAC, 1, 1000), rawFrame(b.Info().MAC, a.Info().MAC, 2, 60))
	expectMarks(t, "b", b, 1)
}

func TestStartRefuses(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	d := startDevice(t, n)
	for _, mac := range []net.HardwareAddr{d.Info().MAC, vmnet.GatewayMAC(t.Name()), broadcast, {0, 0, 0, 0, 0, 0}, {2, 1}} {
		if d, err := n.Start(t.Context(), vmnet.Config{MAC: mac}); !errors.Is(err, vmnet.InvalidArgument) {
			t.Errorf("start with %s: %v, %v, want InvalidArgument", mac, d, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := n.Start(t.Context(), vmnet.Config{UUID: d.Info().UUID})
	if err != nil {
		t.Fatalf("start again after close: %v", err)
	}
	if again.Info().MAC.String() != d.Info().MAC.String() {
		t.Errorf("the same UUID has MAC %s, then %s", d.Info().MAC, again.Info().MAC)
	}
}
