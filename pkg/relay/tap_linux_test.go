package relay_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// inNewNetNS runs fn on a thread in a network namespace that ends with it.
func inNewNetNS(t *testing.T, fn func() error) {
	t.Helper()
	require.NetNS(t)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// newTap makes a tap in the calling thread's namespace.
func newTap(name string, flags uint16) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// readPacket reads from a socket with a time-out, of which no call is begun again by
// itself after a signal (signal(7)).
func readPacket(s int, buf []byte) (n int, err error) {
	for {
		if n, err = unix.Read(s, buf); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// A tap port moves frames between its reader and a packet socket on the
// interface, both ways, and is gone when the interface is.
func TestTapPort(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testTapPort(t, unix.IFF_TAP|unix.IFF_NO_PI) })
	t.Run("virtio-net header", func(t *testing.T) { testTapPort(t, largeTap) })
}

func testTapPort(t *testing.T, flags uint16) {
	inNewNetNS(t, func() error {
		f, err := newTap("tap0", flags)
		if err != nil {
			return err
		}
		p, err := relay.NewTapPort(f, maxFrame)
		if err != nil {
			return err
		}
		defer p.Close()
		link, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		if _, err := p.WriteBatch([][]byte{frame(60, 1)}); err != relay.ErrQueueFull { //nolint:errorlint // bare
			t.Errorf("write to an interface that is down: %v", err)
		}
		if err := errors.Join(os.WriteFile("/proc/sys/net/ipv6/conf/tap0/disable_ipv6", []byte("1"), 0), netlink.LinkSetUp(link)); err != nil {
			return err
		}
		s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300) // htons(ETH_P_ALL)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		addr := &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: link.Attrs().Index}
		if err := errors.Join(unix.Bind(s, addr), unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)})); err != nil {
			return err
		}
		for i := range 100 {
			if n, err := p.WriteBatch([][]byte{frame(60+i, i), frame(1514-i, i)}); n != 2 || err != nil {
				return fmt.Errorf("write: %d, %w", n, err)
			}
			for _, want := range [][]byte{frame(60+i, i), frame(1514-i, i)} {
				buf := make([]byte, 2000)
				n, err := readPacket(s, buf)
				if err != nil {
					return err
				}
				wantFrame(t, buf[:n], want)
			}
			if _, err := unix.Write(s, frame(1514-i, i)); err != nil {
				return err
			}
			got, err := readBatch(p, maxFrame)
			if err != nil || len(got) != 1 {
				return fmt.Errorf("read: %d frames, %w", len(got), err)
			}
			wantFrame(t, got[0], frame(1514-i, i))
		}
		for _, bad := range [][]byte{frame(13, 1), frame(maxFrame+1, 1)} {
			if n, err := p.WriteBatch([][]byte{frame(60, 1), bad}); n != 1 || err != relay.ErrFrameSize { //nolint:errorlint // bare
				t.Errorf("write %d bytes: %d, %v", len(bad), n, err)
			}
		}
		if p.Kind() != relay.KindTap {
			t.Errorf("kind %q", p.Kind())
		}
		ended := make(chan error)
		go func() {
			_, err := readBatch(p, maxFrame)
			ended <- err
		}()
		if err := netlink.LinkDel(link); err != nil {
			return err
		}
		select {
		case err := <-ended:
			if !errors.Is(err, io.EOF) {
				t.Errorf("read of an interface that was deleted: %v", err)
			}
		case <-time.After(patience):
			t.Error("read does not notice that the interface was deleted")
		}
		if _, err := p.WriteBatch([][]byte{frame(60, 1)}); err != relay.ErrPeerGone { //nolint:errorlint // bare
			t.Errorf("write to an interface that was deleted: %v", err)
		}
		if err := errors.Join(p.Close(), p.Close()); err != nil {
			t.Error(err)
		}
		if _, err := p.WriteBatch([][]byte{frame(60, 1)}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write after Close: %v", err)
		}
		return nil
	})
}

// What is no tap, or has packet information or several queues, is refused and closed.
func TestTapPortRefuses(t *testing.T) {
	inNewNetNS(t, func() error {
		for name, flags := range map[string]uint16{
			"tun0": unix.IFF_TUN | unix.IFF_NO_PI, "many0": unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE,
		} {
			f, err := newTap(name, flags)
			if err != nil {
				return err
			}
			if _, err := relay.NewTapPort(f, maxFrame); !errors.Is(err, os.ErrInvalid) {
				t.Errorf("%s with flags %#x: %v", name, flags, err)
			}
			if _, err := f.Stat(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("%s is not closed: %v", name, err)
			}
		}
		f, err := os.Open("/dev/null")
		if err != nil {
			return err
		}
		if _, err := relay.NewTapPort(f, maxFrame); err == nil {
			t.Error("/dev/null is a tap")
		}
		return nil
	})
}
