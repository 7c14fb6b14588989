package tap_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/ownns"
	"github.com/vmnet-cni/vmnet/internal/segments"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/tap"
)

// segment returns a TCP segment of n frames of 1460 bytes of payload, as a kernel gives
// it: a virtio-net header before it, the checksum left open.
func segment(n int) []byte {
	be, ne := binary.BigEndian, binary.NativeEndian
	b := make([]byte, segments.Len+54+n*1460)
	b[0], b[1] = 1, 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4
	for at, v := range map[int]uint16{2: 54, 4: 1460, 6: 34, 8: 16} {
		ne.PutUint16(b[at:], v)
	}
	f := b[segments.Len:]
	copy(f, "\x02\x00\x00\x00\x77\x01\x02\x00\x00\x00\x77\x02\x08\x00")
	copy(f[14:], "\x45\x00\x00\x00\x00\x01\x40\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
	be.PutUint16(f[16:], uint16(len(f)-14))
	copy(f[34:], "\x10\x00\x10\x01\x00\x00\x00\x01\x00\x00\x00\x01\x50\x10\x01\x00")
	return b
}

// framesOf returns the frames that b makes.
func framesOf(t *testing.T, b []byte) (frames [][]byte) {
	t.Helper()
	var c segments.Cutter
	if err := c.Start(b, 1514); err != nil {
		t.Fatal(err)
	}
	for {
		f := make([]byte, 1514)
		n, ok := c.Next(f)
		if !ok {
			return frames
		}
		frames = append(frames, f[:n])
	}
}

// Where frames pass the shim, the kernel's bridge gets segments of a connection as one,
// and gives them as one: a guest with a socket costs it no more than one on a tap.
func TestLarge(t *testing.T) {
	ownns.Needs(t)
	n := open(t, tap.New(tap.Config{Owner: t.Name()}), vmnet.NetworkConfig{Mode: vmnet.Host, Subnet: subnet})
	d, err := n.Start(t.Context(), vmnet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := netlink.LinkByName(d.Info().HostInterfaces[0])
	if err != nil {
		t.Fatal(err)
	}
	const all = 0x0300 // htons(ETH_P_ALL), which sees frames before the bridge does
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	err = errors.Join(unix.SetsockoptInt(s, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30}),
		unix.Bind(s, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Attrs().Index}))
	if err != nil {
		t.Fatal(err)
	}
	whole := segment(40)
	frames := framesOf(t, segment(40))
	if k, err := d.WriteBatch(frames); k != len(frames) || err != nil {
		t.Fatalf("write: %d, %v", k, err)
	}
	for buf := make([]byte, 1<<17); ; {
		k, err := unix.Read(s, buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := buf[:k]; bytes.Equal(got[segments.Len:segments.Len+12], frames[0][:12]) {
			if len(got) != len(whole) {
				t.Errorf("the kernel got %d bytes, want %d in one piece", len(got), len(whole))
			}
			break // what the kernel itself sends is passed over
		}
	}
	if _, err := unix.Write(s, whole); err != nil {
		t.Fatal(err)
	}
	bufs, sizes := relay.NewBuffers(16, 1514), make([]int, 16)
	for end := time.Now().Add(30 * time.Second); len(frames) > 0; {
		k, err := d.ReadBatch(bufs, sizes)
		if errors.Is(err, vmnet.ErrNoPackets) && time.Now().Before(end) {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range k {
			if f := bufs[i][:sizes[i]]; len(frames) > 0 && bytes.Equal(f, frames[0]) {
				frames = frames[1:]
			}
		}
	}
}
