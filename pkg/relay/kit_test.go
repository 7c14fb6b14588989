package relay_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/vmnettest"
)

func TestMain(m *testing.M) {
	// Go's poller opens descriptors of its own with the first pipe or socket; they
	// stay, and no test must be charged for them.
	if r, w, err := os.Pipe(); err == nil {
		_, _ = r.Close(), w.Close()
	}
	leak.Main(m, nil)
}

const maxFrame = vmnet.DefaultMTU + vmnet.HeaderLen

// patience is how long a test waits for what must come. It says nothing about
// how soon that is.
const patience = 30 * time.Second

// framings are the ways a port can work here.
var framings = []struct {
	name string
	typ  int
	open func(*os.File, int) (relay.Port, error)
}{
	{"dgram", unix.SOCK_DGRAM, relay.NewDatagramPort},
	{"dgram-plain", unix.SOCK_DGRAM, relay.NewPlainDatagramPort},
	{"stream", unix.SOCK_STREAM, relay.NewStreamPort},
}

// rig is a relay between an in-memory cable and whatever guest a test gives it.
type rig struct {
	*relay.Relay
	ifc    *vmnet.Interface // the relay's end of the cable
	far    *vmnet.Interface // the other end
	events chan relay.PeerEvent
}

func newRig(t testing.TB, mtu int, cfg relay.Config) *rig {
	t.Helper()
	a, b := vmnettest.NewPair(vmnettest.PairConfig{MTU: mtu})
	g := &rig{
		ifc:    vmnet.NewInterface("test", a),
		far:    vmnet.NewInterface("test", b),
		events: make(chan relay.PeerEvent, 64),
	}
	cfg.OnPeer = func(e relay.PeerEvent) { g.events <- e }
	r, err := relay.New(g.ifc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.Relay = r
	t.Cleanup(func() {
		r.Close()
		g.ifc.Close()
		g.far.Close()
	})
	return g
}

// attach gives the relay one end of a new socket and returns the other.
func (g *rig) attach(t testing.TB, typ int, open func(*os.File, int) (relay.Port, error)) *os.File {
	t.Helper()
	ours, theirs := socketpair(t, typ)
	p, err := open(ours, g.ifc.MaxPacketSize())
	if err != nil {
		t.Fatal(err)
	}
	g.Attach(p, "fd")
	return theirs
}

func socketpair(t testing.TB, typ int) (ours, theirs *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, typ, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS == "darwin" { // there a datagram is at most 2048 bytes otherwise
			setBuffers(t, fd, 256<<10)
		}
	}
	ours, theirs = os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

func setBuffers(t testing.TB, fd, size int) {
	t.Helper()
	for _, opt := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, size); err != nil {
			t.Fatal(err)
		}
	}
}

// shortDir returns a new directory whose path leaves room for a socket's name: a
// path may have 103 bytes on macOS, where the usual temporary directory has 60.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "relay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// frame returns a frame of size bytes that is told from others by n.
func frame(size, n int) []byte {
	f := make([]byte, size)
	for i := range f {
		f[i] = byte(n + i)
	}
	if size >= vmnet.HeaderLen+4 {
		binary.BigEndian.PutUint32(f[vmnet.HeaderLen:], uint32(n))
	}
	return f
}

// prefixed returns frames as a stream carries them.
func prefixed(frames ...[]byte) []byte {
	var b []byte
	for _, f := range frames {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return b
}

// recvFar returns the next frame that came out of the relay at the far end.
func (g *rig) recvFar(t testing.TB) []byte {
	t.Helper()
	ctx := t.Context()
	timer := time.AfterFunc(patience, func() { g.far.Close() })
	defer timer.Stop()
	buf := make([]byte, g.far.MaxPacketSize())
	n, err := g.far.ReadContext(ctx, buf)
	if err != nil {
		t.Fatalf("far end: %v; stats %+v", err, g.Stats())
	}
	return buf[:n]
}

// eventually waits for what.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// event returns the next peer event.
func (g *rig) event(t testing.TB) relay.PeerEvent {
	t.Helper()
	select {
	case e := <-g.events:
		return e
	case <-time.After(patience):
		t.Fatalf("no event within %v; peer %+v", patience, g.Peer())
		panic("unreachable")
	}
}

// wantEvents checks the next peer events, as "+via" or "-via".
func (g *rig) wantEvents(t testing.TB, want ...string) {
	t.Helper()
	for _, w := range want {
		e := g.event(t)
		got := "-" + e.Via
		if e.Connected {
			got = "+" + e.Via
		}
		if got != w {
			t.Fatalf("event %s (%v), want %s of %v", got, e.Err, w, want)
		}
	}
}

// wantDrop waits until n frames of the direction were dropped for the reason.
func wantDrop(t testing.TB, dir func() relay.Direction, why relay.Reason, n uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d drops for %s, have %v", n, why, dir().Drops), func() bool {
		return dir().Drops[why.String()] == n
	})
}

// reaches sends f to the guest, whose end is theirs, until it is there. A pump that
// was at work when the guest came may still lose one to nobody.
func (g *rig) reaches(t testing.TB, theirs *os.File, f []byte) {
	t.Helper()
	got := make(chan []byte, 1)
	go func() {
		buf := make([]byte, 2000)
		_ = theirs.SetReadDeadline(time.Now().Add(patience))
		n, _ := theirs.Read(buf)
		got <- buf[:n]
	}()
	for {
		if err := g.far.Write(f); err != nil {
			t.Fatal(err)
		}
		select {
		case b := <-got:
			wantFrame(t, b, f)
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (g *rig) fromGuest() relay.Direction { return g.Stats().FromGuest }
func (g *rig) toGuest() relay.Direction   { return g.Stats().ToGuest }

// guest is a named datagram socket, connected to a relay's, as vfkit makes it.
type guest struct {
	*net.UnixConn
	path string
}

func dial(t testing.TB, dir, name, to string) *guest {
	t.Helper()
	path := filepath.Join(dir, name)
	c, err := net.DialUnix("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}, &net.UnixAddr{Name: to, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetWriteBuffer(256 << 10); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); os.Remove(path) })
	return &guest{c, path}
}

// die does what a killed process does: the socket closes, its file stays.
func (g *guest) die() { g.Close() }

func (g *guest) send(t testing.TB, msg []byte) {
	t.Helper()
	if _, err := g.Write(msg); err != nil {
		t.Fatal(err)
	}
}

func (g *guest) recv(t testing.TB) []byte {
	t.Helper()
	_ = g.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 1<<17)
	n, err := g.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// listenDgram makes a named datagram socket.
func listenDgram(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func listenStream(t testing.TB, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// readBatch reads one batch from p with fresh buffers.
func readBatch(p relay.Port, maxFrame int) ([][]byte, error) {
	n := relay.BatchLen(maxFrame)
	bufs, sizes := relay.NewBuffers(n, maxFrame), make([]int, n)
	got, err := p.ReadBatch(bufs, sizes)
	out := make([][]byte, got)
	for i := range got {
		out[i] = bufs[i][:sizes[i]]
	}
	return out, err
}

func wantFrame(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("frame of %d bytes %.20x, want %d bytes %.20x", len(got), got, len(want), want)
	}
}

// countFDs returns how many descriptors the process has open.
func countFDs(t testing.TB) int {
	t.Helper()
	e, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

// in runs the functions at once and waits for them.
func in(fns ...func()) {
	var wg sync.WaitGroup
	for _, fn := range fns {
		wg.Go(fn)
	}
	wg.Wait()
}

// mustPort returns a port whose other end is closed by the test's end.
func mustPort(t testing.TB, open func(*os.File, int) (relay.Port, error), typ int) relay.Port {
	t.Helper()
	ours, theirs := socketpair(t, typ)
	defer theirs.Close()
	p, err := open(ours, maxFrame)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
