package framework_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

// relayEnv has the test binary be a relay on fd 3; its value has "1" for offload,
// and "s" for a stream.
const relayEnv = "VMNET_TEST_RELAY"

// beRelay is the relay in Go, as a process. It ends when the guest closes fd 3's
// other end, or is killed.
func beRelay(how string) error {
	runtime.GOMAXPROCS(max(4, runtime.GOMAXPROCS(0))) // as the shim does
	d, err := framework.New(framework.Config{Library: os.Getenv(framework.LibraryEnv)})
	if err != nil {
		return err
	}
	cfg := shared("relay")
	cfg.Offload = strings.Contains(how, "1")
	i, err := vmnet.Start(context.Background(), d, cfg, vmnet.Config{})
	if err != nil {
		return err
	}
	open := relay.NewDatagramPort
	if strings.Contains(how, "s") {
		open = relay.NewStreamPort
	}
	p, err := open(os.NewFile(3, "guest"), i.MaxPacketSize())
	if err != nil {
		return err
	}
	r, err := relay.New(i, relay.Config{})
	if err != nil {
		return err
	}
	r.Attach(p, "fd")
	select {}
}

// A guest is the guest's side of a frame socket.
type guest struct {
	port  relay.Port
	fd    int // a duplicate of the socket, for poll(2)
	bufs  [][]byte
	sizes []int
}

// newGuest takes over f.
func newGuest(b testing.TB, f *os.File, maxFrame int) *guest {
	b.Helper()
	raw, err := f.SyscallConn() // Fd would make it blocking
	if err != nil {
		b.Fatal(err)
	}
	var fd int
	if cerr := raw.Control(func(s uintptr) { fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil || err != nil {
		b.Fatal(cerr, err)
	}
	b.Cleanup(func() { unix.Close(fd) })
	p, err := relay.NewDatagramPort(f, maxFrame)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Close() })
	n := relay.BatchLen(maxFrame)
	return &guest{port: p, fd: fd, bufs: relay.NewBuffers(n, maxFrame), sizes: make([]int, n)}
}

// hello makes one round trip. The relay may drop the answer when it began to read a
// moment before there was a guest: then the guest asks again.
func (g *guest) hello(b testing.TB) {
	b.Helper()
	for range 30 {
		g.send(b, 1, 98)
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(g.fd), Events: unix.POLLIN}}, 1000); n > 0 && err == nil {
			g.receive(b, 1)
			return
		}
	}
	b.Fatal("the relay does not answer")
}

// send sends n frames of size bytes.
func (g *guest) send(b testing.TB, n, size int) {
	b.Helper()
	frames := make([][]byte, min(n, len(g.bufs)))
	for k := range frames {
		frames[k] = broadcast(vmnet.Info{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}, size)
	}
	for n > 0 {
		k, err := g.port.WriteBatch(frames[:min(n, len(frames))])
		if err != nil && !errors.Is(err, relay.ErrQueueFull) { // a busy machine: go on
			b.Error(err)
			return
		}
		n -= k
	}
}

// receive reads n frames.
func (g *guest) receive(b testing.TB, n int) {
	b.Helper()
	for n > 0 {
		k, err := g.port.ReadBatch(g.bufs, g.sizes)
		if err != nil {
			b.Error(err)
			return
		}
		n -= k
	}
}

// pair returns the two ends of a frame socket.
func pair(b testing.TB, kind string, size int) (near, far *os.File, maxFrame int) {
	b.Helper()
	maxFrame = 1514
	if size > maxFrame {
		maxFrame = 65550
	}
	near, far, err := handover.Pair(kind, maxFrame, size > 1514)
	if err != nil {
		b.Fatal(err)
	}
	return near, far, maxFrame
}

// spawn starts a relay on the far end of a frame socket as a process of its own,
// and returns the guest at the near end when frames pass.
func spawn(b *testing.B, kind, mode string, size int) *guest {
	b.Helper()
	lib := libvmnet.Build(b, libvmnet.Config{})
	near, far, maxFrame := pair(b, handover.KindDgram, size)
	defer far.Close()
	offload := "0"
	if size > 1514 {
		offload = "1"
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	if kind == "C" {
		cmd = exec.Command(compileRelay(b, lib.Path), offload)
	}
	cmd.Env = append(os.Environ(), relayEnv+"="+offload, framework.LibraryEnv+"="+lib.Path,
		fmt.Sprintf("LIBVMNET_TEST=traffic=%s,source.size=%d", mode, size))
	cmd.ExtraFiles, cmd.Stderr = []*os.File{far}, os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	g := newGuest(b, near, maxFrame)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()     //nolint:errcheck // it is killed
		g.port.Close() // a datagram peer's end is not told to who reads
	}()
	b.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-ended
	})
	if mode != sink {
		g.hello(b)
	}
	return g
}

// compileRelay makes testdata/relay.c.
func compileRelay(b *testing.B, library string) string {
	b.Helper()
	out := filepath.Join(b.TempDir(), "relay")
	cmd := exec.Command(require.Tool(b, "clang"), "-O2", "-fblocks", "-std=gnu11", "-I../../../conformance/libvmnet/include",
		"testdata/relay.c", library, "-Wl,-rpath,"+filepath.Dir(library), "-lBlocksRuntime", "-o", out)
	if text, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", cmd, err, text)
	}
	return out
}

// What libvmnet does with frames.
const (
	sink   = "1"
	source = "2"
	echo   = "3"
)

// BenchmarkRelay moves frames between a guest and libvmnet as sink, source and
// echo, through a relay that is a process: the one in Go, the one in C, and none
// (a bare hop: sendmmsg and recvmmsg between two sockets). ns/op is the time of
// one frame, or of a round trip.
func BenchmarkRelay(b *testing.B) {
	for _, size := range []int{1514, 65226} {
		for _, kind := range []string{"Go", "C"} {
			b.Run(fmt.Sprintf("from guest/%d/%s", size, kind), func(b *testing.B) {
				g := spawn(b, kind, sink, size)
				b.SetBytes(int64(size))
				b.ResetTimer()
				g.send(b, b.N, size) // the socket's queue bounds what is on its way
				rate(b, "frames/s")
			})
			b.Run(fmt.Sprintf("to guest/%d/%s", size, kind), func(b *testing.B) {
				g := spawn(b, kind, source, size)
				b.SetBytes(int64(size))
				b.ResetTimer()
				g.receive(b, b.N)
				rate(b, "frames/s")
			})
		}
		b.Run(fmt.Sprintf("bare/%d", size), func(b *testing.B) { benchBare(b, size) })
	}
	for _, kind := range []string{"Go", "C"} {
		b.Run("round trip/98/"+kind, func(b *testing.B) {
			g := spawn(b, kind, echo, 98)
			b.ResetTimer()
			for range b.N {
				g.send(b, 1, 98)
				g.receive(b, 1)
			}
			rate(b, "trips/s")
		})
	}
}

func rate(b *testing.B, unit string) {
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), unit)
}

// benchBare sends through a frame socket and reads at the other end.
func benchBare(b *testing.B, size int) {
	near, far, maxFrame := pair(b, handover.KindDgram, size)
	in, out := newGuest(b, near, maxFrame), newGuest(b, far, maxFrame)
	b.SetBytes(int64(size))
	b.ResetTimer()
	done := make(chan struct{})
	go func() {
		defer close(done)
		in.send(b, b.N, size)
	}()
	out.receive(b, b.N)
	<-done
	rate(b, "frames/s")
}

// TestRelay moves frames both ways through a relay whose pump runs in the
// framework's event callback, and closes it under a flood.
func TestRelay(t *testing.T) {
	l := load(t, macOS26)
	dev := start(t, l.driver(t, framework.Config{}), shared("relay"))
	near, far, maxFrame := pair(t, handover.KindDgram, 98)
	g := newGuest(t, near, maxFrame)
	p, err := relay.NewDatagramPort(far, maxFrame)
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(vmnet.NewInterface("relay", dev), relay.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r.Attach(p, "fd")
	l.control(t, "traffic", 3) // echo
	g.hello(t)
	for k := range 500 {
		g.send(t, 1, 98)
		g.receive(t, 1)
		if g.sizes[0] != 98 {
			t.Fatalf("frame %d: %d bytes", k, g.sizes[0])
		}
	}
	l.control(t, "traffic", 2) // source
	l.control(t, "fire", 1)
	g.receive(t, 10_000)
	ends(t, "close the relay", r.Close)
	ends(t, "close the device", dev.Close)
}
