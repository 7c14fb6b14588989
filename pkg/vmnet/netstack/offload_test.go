package netstack_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// An offloadCard is a network card of MTU 1500 that takes segments of 60 KiB from
// its stack and sends them as they are, checksums left open. Those that come it
// checks in full.
type offloadCard struct {
	*guestLink
	sent atomic.Int64 // the longest packet
}

func (c *offloadCard) MTU() uint32                      { return 1514 }
func (c *offloadCard) GSOMaxSize() uint32               { return 60 << 10 }
func (c *offloadCard) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

func (c *offloadCard) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for _, p := range pkts.AsSlice() {
		c.sent.Store(max(c.sent.Load(), int64(p.Size())))
	}
	return c.guestLink.WritePackets(pkts)
}

func newOffloadGuest(t *testing.T, n vmnet.Network, addr string) (*guest, *offloadCard) {
	t.Helper()
	var card *offloadCard
	g := newGuestWith(t, n, addr, func(l *guestLink) stack.LinkEndpoint {
		card = &offloadCard{guestLink: l}
		return card
	})
	return g, card
}

// Segments of much more than the MTU cross in one piece: to the host, from it, and
// from guest to guest, with true checksums.
func TestOffload(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, func(c *vmnet.NetworkConfig) { c.Offload = true })
	a, cardA := newOffloadGuest(t, n, "192.168.127.2")
	b, cardB := newOffloadGuest(t, n, "192.168.127.3")
	if got := a.dev.Info().MaxPacketSize; got != 65550 {
		t.Errorf("largest frame of %d bytes, want 65550", got)
	}
	const large = 8 << 10
	data := bytes.Repeat([]byte("offload!"), 512<<10)

	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go echoAll(l, data)
	swap(t, a.mustDial(loopback(n, l.Addr())), data)
	if n := cardA.sent.Load(); n < large {
		t.Errorf("to the host: the longest packet had %d bytes", n)
	}
	if n := cardA.received.Load(); n < large {
		t.Errorf("from the host: the longest frame had %d bytes", n)
	}

	to := netip.MustParseAddrPort("192.168.127.3:80")
	lb, err := gonet.ListenTCP(b.stack, full(to), protocolOf(to.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer lb.Close()
	go echoAll(lb, data)
	swap(t, a.mustDial(to), data)
	if n := cardB.received.Load(); n < large {
		t.Errorf("to a guest: the longest frame had %d bytes", n)
	}
}

// Without Offload no frame is longer than the MTU, and none that is passes.
func TestNoOffload(t *testing.T) {
	n := openNetwork(t, netstack.Config{}, nil)
	dev := startDevice(t, n)
	if _, err := dev.WriteBatch([][]byte{make([]byte, 1515)}); !errors.Is(err, vmnet.PacketTooBig) {
		t.Errorf("frame of 1515 bytes: %v", err)
	}
}

// echoAll takes len(data) bytes of the first connection and sends them back.
func echoAll(l net.Listener, data []byte) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	got := make([]byte, len(data))
	if _, err := io.ReadFull(c, got); err == nil {
		_, _ = c.Write(got)
		_, _ = io.Copy(io.Discard, c) // until the other side has everything
	}
}

// swap sends data and wants it back.
func swap(t *testing.T, c net.Conn, data []byte) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Error("what came back is not what was sent")
	}
	_ = c.Close()
}
