package relay_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/segments"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// largeTap is the flags of a tap with a virtio-net header.
const largeTap = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR

// largeFrames is how many frames of 1460 bytes of payload largePacket makes.
const largeFrames = 40

// largePacket returns a TCP segment of 40 frames with its virtio-net header, as a
// kernel gives it: the checksum is left open.
func largePacket() []byte {
	be, ne := binary.BigEndian, binary.NativeEndian
	b := make([]byte, segments.Len+54+largeFrames*1460)
	b[0], b[1] = 1, 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV4
	ne.PutUint16(b[2:], 54)
	ne.PutUint16(b[4:], 1460)
	ne.PutUint16(b[6:], 34)
	ne.PutUint16(b[8:], 16)
	f := b[segments.Len:]
	copy(f, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00")
	copy(f[14:], "\x45\x00\x00\x00\x00\x01\x40\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
	be.PutUint16(f[16:], uint16(len(f)-14))
	copy(f[34:], "\x10\x00\x10\x01\x00\x00\x00\x01\x00\x00\x00\x01\x50\x10\x01\x00")
	for i := range f[54:] {
		f[54+i] = byte(i / 1460)
	}
	return b
}

// cutFrames returns the frames of largePacket.
func cutFrames(t *testing.T) (frames [][]byte) {
	t.Helper()
	var c segments.Cutter
	if err := c.Start(largePacket(), maxFrame); err != nil {
		t.Fatal(err)
	}
	for {
		b := make([]byte, maxFrame)
		n, ok := c.Next(b)
		if !ok {
			return frames
		}
		frames = append(frames, b[:n])
	}
}

// newLargeTap returns the port of a tap with a virtio-net header, and a packet socket
// on it that has such a header too and sees nothing but IPv4.
func newLargeTap(name string) (p relay.Port, sock int, err error) {
	f, err := newTap(name, largeTap)
	if err != nil {
		return nil, -1, err
	}
	if p, err = relay.NewTapPort(f, maxFrame); err != nil {
		return nil, -1, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, -1, err
	}
	if err := errors.Join(os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0), netlink.LinkSetUp(link)); err != nil {
		return nil, -1, err
	}
	const ipv4 = 0x0008 // htons(ETH_P_IP)
	if sock, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, ipv4); err != nil {
		return nil, -1, err
	}
	addr := &unix.SockaddrLinklayer{Protocol: ipv4, Ifindex: link.Attrs().Index}
	err = errors.Join(unix.SetsockoptInt(sock, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1), unix.Bind(sock, addr),
		unix.SetsockoptTimeval(sock, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)}))
	if err != nil {
		return nil, -1, errors.Join(err, unix.Close(sock))
	}
	return p, sock, nil
}

// Segments of one connection go to the kernel as one, and come from it as one: a
// system call each way, whose frames are those of the MTU.
func TestTapLarge(t *testing.T) {
	inNewNetNS(t, func() error {
		p, sock, err := newLargeTap("tap0")
		if err != nil {
			return err
		}
		defer p.Close()
		defer unix.Close(sock)
		frames := cutFrames(t)
		if n, err := p.WriteBatch(frames); n != len(frames) || err != nil {
			return fmt.Errorf("write: %d, %w", n, err)
		}
		buf := make([]byte, 1<<17)
		n, err := readPacket(sock, buf)
		if err != nil {
			return err
		}
		if want := largePacket(); n != len(want) || !bytes.Equal(buf[segments.Len+54:n], want[segments.Len+54:]) || buf[1] != want[1] {
			t.Errorf("the kernel got %d bytes of kind %d, want %d of kind %d", n, buf[1], len(want), want[1])
		}
		// The kernel's way: the same out of it, and a small frame behind it.
		if _, err := unix.Write(sock, largePacket()); err != nil {
			return err
		}
		small := append(make([]byte, segments.Len), frames[0]...)
		if _, err := unix.Write(sock, small); err != nil {
			return err
		}
		want := append(frames, frames[0])
		for len(want) > 0 {
			got, err := readBatch(p, maxFrame)
			if err != nil {
				return err
			}
			for _, f := range got {
				wantFrame(t, f, want[0])
				want = want[1:]
			}
		}
		return nil
	})
}

// A packet that is none, which a guest's packet socket can send, is dropped, and what
// is behind it comes.
func TestTapLargeHostile(t *testing.T) {
	inNewNetNS(t, func() error {
		p, sock, err := newLargeTap("tap0")
		if err != nil {
			return err
		}
		defer p.Close()
		defer unix.Close(sock)
		defer time.AfterFunc(patience, func() { p.Close() }).Stop() // ends a read in vain
		for i := range segments.Len {
			for _, v := range []byte{0, 1, 3, 4, 0x81, 0xff} {
				bad := largePacket()
				bad[i] = v
				_, _ = unix.Write(sock, bad) // most of them the kernel refuses itself
			}
		}
		last := frame(60, 77)
		if _, err := unix.Write(sock, append(make([]byte, segments.Len), last...)); err != nil {
			return err
		}
		for {
			got, err := readBatch(p, maxFrame)
			if err != nil {
				return fmt.Errorf("before the last frame: %w", err)
			}
			if bytes.Equal(got[len(got)-1], last) {
				return nil
			}
		}
	})
}

// Neither way allocates.
func TestNoAllocationTap(t *testing.T) {
	inNewNetNS(t, func() error {
		p, sock, err := newLargeTap("tap0")
		if err != nil {
			return err
		}
		defer p.Close()
		defer unix.Close(sock)
		frames, packet := cutFrames(t), largePacket()
		bufs, sizes := relay.NewBuffers(64, maxFrame), make([]int, 64)
		buf := make([]byte, 1<<17)
		if n := testing.AllocsPerRun(20, func() {
			_, werr := p.WriteBatch(frames)
			_, rerr := readPacket(sock, buf)
			_, serr := unix.Write(sock, packet)
			for got := 0; got < largeFrames && err == nil; {
				var k int
				k, err = p.ReadBatch(bufs, sizes)
				got += k
			}
			err = errors.Join(err, werr, rerr, serr)
		}); n > 0 {
			t.Errorf("%.0f allocations for %d frames each way", n, largeFrames)
		}
		return err
	})
}
