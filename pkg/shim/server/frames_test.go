package server_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// discover returns a frame with a DHCPDISCOVER.
func discover(t *testing.T, mac net.HardwareAddr) []byte {
	t.Helper()
	msg, err := dhcpv4.NewDiscovery(mac)
	if err != nil {
		t.Fatal(err)
	}
	data := msg.ToBytes()
	udp := binary.BigEndian.AppendUint16(nil, 68)
	udp = binary.BigEndian.AppendUint16(udp, 67)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(data)))
	udp = append(append(udp, 0, 0), data...) // checksum 0: none (RFC 768)
	ip := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(udp)))
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	frame := append(bytes.Repeat([]byte{0xff}, 6), mac...)
	return append(append(append(frame, 8, 0), ip...), udp...)
}

// offered sends a DISCOVER on a frame fd and returns the address of the OFFER.
func offered(t *testing.T, m handover.Message, c net.Conn) string {
	t.Helper()
	mac, err := net.ParseMAC(m.MAC)
	if err != nil {
		t.Fatal(err)
	}
	frame := discover(t, mac)
	if m.Kind == shim.FramesStream {
		frame = append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(frame); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, m.MaxFrameSize+4)
	for {
		n, err := readFrame(c, m.Kind, buf)
		if err != nil {
			t.Fatal(err)
		}
		if n < 42 || buf[23] != 17 || binary.BigEndian.Uint16(buf[36:]) != 68 {
			continue // something else that the network said
		}
		reply, err := dhcpv4.FromBytes(buf[42:n])
		if err != nil {
			t.Fatal(err)
		}
		return reply.YourIPAddr.String()
	}
}

func readFrame(c net.Conn, kind string, buf []byte) (int, error) {
	if kind != shim.FramesStream {
		return c.Read(buf)
	}
	if _, err := io.ReadFull(c, buf[:4]); err != nil {
		return 0, err
	}
	return io.ReadFull(c, buf[:binary.BigEndian.Uint32(buf)])
}

func conn(t *testing.T, f *os.File) net.Conn {
	t.Helper()
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestFrames(t *testing.T) {
	for _, kind := range []string{shim.FramesDgram, shim.FramesStream} {
		t.Run(kind, func(t *testing.T) {
			r := start(t, config(newDirs(t)))
			a := r.attach("n", "c", shim.AttachRequest{Frames: kind})
			before := r.census()
			m, f, err := r.Frames(t.Context(), "n", "c", "eth0")
			if err != nil {
				t.Fatal(err)
			}
			if m.MAC != a.MAC || m.Kind != kind || m.MTU != 1500 || m.MaxFrameSize != 1514 || len(m.IPs) != 2 || m.IPs[0] != a.IPs[0].Address.String() || m.IPs[1] != a.IPs[1].Address.String() {
				t.Errorf("message %+v of %+v", m, a)
			}
			first := conn(t, f)
			if got := offered(t, m, first); got != a.IPs[0].Address.Addr().String() {
				t.Errorf("DHCP offers %s, the result says %v", got, a.IPs)
			}
			eventually(t, func() bool {
				got, err := r.Attachment(t.Context(), "n", "c", "eth0")
				return err == nil && got.Peer.Connected && got.Peer.Via == "fd" && got.Counters.Answered > 0
			}, func() string { return "no connected peer with an answer" })
			m, f, err = r.Frames(t.Context(), "n", "c", "eth0")
			if err != nil {
				t.Fatal(err)
			}
			second := conn(t, f)
			if got := offered(t, m, second); got != a.IPs[0].Address.Addr().String() {
				t.Errorf("the second fd offers %s", got)
			}
			first.Close()
			second.Close()
			if err := r.Detach(t.Context(), "n", "c", "eth0"); err != nil {
				t.Fatal(err)
			}
			r.attach("n", "c", shim.AttachRequest{Frames: kind})
			r.nothingLeft(before)
		})
	}
}

// TestFramesRefused has takers that do not take: the guest that is there stays.
func TestFramesRefused(t *testing.T) {
	r := start(t, config(newDirs(t)))
	r.attach("n", "c", shim.AttachRequest{})
	m, f, err := r.Frames(t.Context(), "n", "c", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	guest := conn(t, f)
	before := r.census()
	const head = "POST /v1/networks/n/attachments/c/eth0/frames HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: vmnet-frames\r\n"
	for name, text := range map[string]string{
		"goes at once":  head + "\r\n",
		"says too much": head + "\r\n{\"ok\":true}\n",
		"has a body":    head + "Content-Length: 2\r\n\r\n{}",
		"says no":       head + "\r\n", // and answers below
	} {
		c, err := net.Dial("unix", r.dirs.ShimSocket())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if name == "says no" {
			_ = c.SetDeadline(time.Now().Add(patience))
			buf := make([]byte, 4096)
			if n, err := c.Read(buf); err != nil || !bytes.Contains(buf[:n], []byte("101 Switching")) {
				t.Errorf("answer %q, %v", buf[:n], err)
			}
			_, _ = c.Write([]byte("{\"error\":\"no\"}\n"))
		}
		c.Close()
	}
	r.nothingLeft(before)
	if got := offered(t, m, guest); got != "192.168.127.2" {
		t.Errorf("the guest is offered %s, want it unharmed", got)
	}
}

func TestNamedSockets(t *testing.T) {
	r := start(t, config(newDirs(t)))
	a := r.attach("n", "c", shim.AttachRequest{})
	m := handover.Message{MAC: a.MAC, MaxFrameSize: a.MaxFrameSize, Kind: shim.FramesDgram}
	f, err := handover.Dial(a.DgramSocketPath, handover.KindDgram)
	if err != nil {
		t.Fatal(err)
	}
	dgram := conn(t, f)
	if got := offered(t, m, dgram); got != "192.168.127.2" {
		t.Errorf("datagram socket: offered %s", got)
	}
	dgram.Close()
	if f, err = handover.Dial(a.StreamSocketPath, handover.KindStream); err != nil {
		t.Fatal(err)
	}
	m.Kind = shim.FramesStream
	if got := offered(t, m, conn(t, f)); got != "192.168.127.2" {
		t.Errorf("stream socket: offered %s", got)
	}
}

// TestFirstFrame has a neighbour send as soon as a guest has its descriptor: the
// guest gets that frame, the first time and when it takes another descriptor.
func TestFirstFrame(t *testing.T) {
	r := start(t, config(newDirs(t)))
	a, from := r.plugged("a")
	b := r.attach("n", "b", shim.AttachRequest{})
	frame := between(t, a.MAC, b.MAC)
	for i := range 50 {
		m, f, err := r.Frames(t.Context(), "n", "b", "eth0")
		if err != nil {
			t.Fatal(err)
		}
		frame[14] = byte(i)
		if _, err := from.Write(frame); err != nil {
			t.Fatal(err)
		}
		c := fileConn(t, f)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		buf := make([]byte, m.MaxFrameSize)
		for n := 0; !bytes.Equal(buf[:n], frame); { // whatever else the network says
			if n, err = c.Read(buf); err != nil {
				v, _ := r.Attachment(t.Context(), "n", "b", "eth0")
				t.Fatalf("descriptor %d: %v; want the neighbour's frame; drops %v", i, err, v.Counters.ToGuest.Drops)
			}
		}
		c.Close()
	}
}

// plugged attaches id and returns its end of a frame fd.
func (r *running) plugged(id string) (shim.Attachment, net.Conn) {
	r.t.Helper()
	a := r.attach("n", id, shim.AttachRequest{})
	_, f, err := r.Frames(r.t.Context(), "n", id, "eth0")
	if err != nil {
		r.t.Fatal(err)
	}
	return a, fileConn(r.t, f)
}

// between returns a frame of an EtherType that nobody answers.
func between(t testing.TB, src, dst string) []byte {
	t.Helper()
	frame := make([]byte, 60)
	for i, text := range []string{dst, src} {
		mac, err := net.ParseMAC(text)
		if err != nil {
			t.Fatal(err)
		}
		copy(frame[6*i:], mac)
	}
	frame[12], frame[13] = 0x88, 0xb5
	return frame
}

// fileConn returns f, which it closes, as a connection that ends with the test.
func fileConn(t testing.TB, f *os.File) net.Conn {
	t.Helper()
	c, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestEndDuringHandOver has the shim asked to end while a runtime has its frame fd and
// has not said yet that it takes it: the shim waits.
func TestEndDuringHandOver(t *testing.T) {
	r := start(t, config(newDirs(t)))
	r.attach("n", "c", shim.AttachRequest{})
	c, err := net.Dial("unix", r.dirs.ShimSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "POST /v1/networks/n/attachments/c/eth0/frames HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: vmnet-frames\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, len("HTTP/1.1 101"))
	if _, err := io.ReadFull(c, head); err != nil || string(head) != "HTTP/1.1 101" {
		t.Fatalf("%q, %v", head, err)
	}
	r.cancel()
	eventually(t, func() bool { _, err := os.Lstat(r.dirs.ShimSocket()); return err != nil }, func() string { return "it does not end" })
	select {
	case err := <-r.done:
		r.done <- err
		t.Errorf("ended: %v", err)
	case <-time.After(200 * time.Millisecond): // longer than the rest takes
	}
	c.Close()
	r.stop()
}
