package framework_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

// A rawGuest is a guest as cheap as can be: one thread that blocks in sendmmsg(2)
// and recvmmsg(2) on the near end of a frame socket.
type rawGuest struct {
	file *os.File
	fd   int
	msgs []rawMsg
}

type rawMsg struct {
	hdr unix.Msghdr
	len uint32
}

// newRawGuest takes over f.
func newRawGuest(b testing.TB, f *os.File, size int) *rawGuest {
	g := &rawGuest{file: f, fd: int(f.Fd()), msgs: make([]rawMsg, relay.BatchLen(size))}
	limit := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(g.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		b.Fatal(err)
	}
	for i, buf := range relay.NewBuffers(len(g.msgs), size) {
		copy(buf, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5})
		g.msgs[i].hdr.Iov = &unix.Iovec{Base: &buf[0], Len: uint64(size)}
		g.msgs[i].hdr.SetIovlen(1)
	}
	return g
}

func (g *rawGuest) call(b testing.TB, trap uintptr, n, flags int) int {
	for {
		r, _, e := unix.Syscall6(trap, uintptr(g.fd), uintptr(unsafe.Pointer(&g.msgs[0])), uintptr(n), uintptr(flags), 0, 0)
		switch e {
		case 0:
			return int(r)
		case unix.EINTR:
		default:
			b.Fatalf("the relay does not answer: %v", e)
		}
	}
}

func (g *rawGuest) send(b testing.TB, n int) int { return g.call(b, unix.SYS_SENDMMSG, n, 0) }

func (g *rawGuest) receive(b testing.TB, n int) int {
	return g.call(b, unix.SYS_RECVMMSG, n, unix.MSG_WAITFORONE)
}

// move moves frames, or makes round trips, for a while and returns how many a
// second.
func (g *rawGuest) move(b testing.TB, mode string, d time.Duration) float64 {
	start, n := time.Now(), 0
	for time.Since(start) < d {
		switch mode {
		case sink:
			n += g.send(b, len(g.msgs))
		case source:
			n += g.receive(b, len(g.msgs))
		default:
			g.send(b, 1)
			n += g.receive(b, 1)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}

// The sides that are compared.
const (
	inGo = "Go"
	inC  = "C"
	bare = "bare"
)

// programs are what is compared, built once.
type programs struct{ lib, relay, bare string }

func buildPrograms(b *testing.B) programs {
	lib := libvmnet.Build(b, libvmnet.Config{}).Path
	p := programs{lib: lib, relay: compileRelay(b, lib), bare: filepath.Join(b.TempDir(), "bare")}
	out, err := exec.Command(require.Tool(b, "clang"), "-O2", "-std=gnu11", "-o", p.bare, "testdata/bare.c").CombinedOutput()
	if err != nil {
		b.Fatalf("clang: %v\n%s", err, out)
	}
	return p
}

// sample starts one side on the far end of a new frame socket and measures it for
// a while, once frames pass.
func (p programs) sample(b *testing.B, side, mode string, size int, d time.Duration) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	near, far, _ := pair(b, size)
	defer far.Close()
	offload := "0"
	if size > 1514 {
		offload = "1"
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), framework.LibraryEnv+"="+p.lib,
		fmt.Sprintf("LIBVMNET_TEST=traffic=%s,source.size=%d", mode, size))
	switch side {
	case inGo:
		cmd.Env = append(cmd.Env, relayEnv+"="+offload)
	case inC:
		cmd.Path, cmd.Args = p.relay, []string{"relay", offload}
	case bare:
		cmd.Path, cmd.Args = p.bare, []string{"bare", mode, strconv.Itoa(size)}
	}
	cmd.ExtraFiles, cmd.Stderr = []*os.File{far}, os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	g := newRawGuest(b, near, size)
	defer func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // it was killed
		g.file.Close()
	}()
	if mode == source { // begins with an event, or with what the guest sends
		g.receive(b, 1)
	}
	g.move(b, mode, d/5) // warm: sockets, caches, the relay's batches
	return g.move(b, mode, d)
}

// sideBySide says how long one sample takes.
const sideBySide = 250 * time.Millisecond

// BenchmarkSideBySide measures, side by side in one run, the relay in Go, the
// same loop in C, and a bare hop without either: frames from and to the guest,
// and round trips. Each is a process of its own, and each round measures them one
// after the other, since the speed of a shared machine changes by the minute:
// what counts is the median of the rounds' ratios. Rounds are -benchtime:
//
//	go test -run '^$' -bench SideBySide -benchtime 15x ./pkg/vmnet/framework
func BenchmarkSideBySide(b *testing.B) {
	p := buildPrograms(b)
	for _, c := range []struct {
		name, mode string
		size       int
	}{
		{"from guest", sink, 1514}, {"to guest", source, 1514},
		{"from guest", sink, 65226}, {"to guest", source, 65226},
		{"round trip", echo, 98},
	} {
		b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(c.name, " ", "-"), c.size), func(b *testing.B) {
			rates := map[string][]float64{}
			for round := range b.N {
				sides := []string{inGo, inC, bare}
				for k := range sides { // another order every time
					side := sides[(k+round)%len(sides)]
					rates[side] = append(rates[side], p.sample(b, side, c.mode, c.size, sideBySide))
				}
			}
			b.ReportMetric(0, "ns/op")
			for side, r := range rates {
				b.ReportMetric(median(r), side+"/s")
			}
			b.ReportMetric(median(ratios(rates[inGo], rates[bare])), "Go:bare")
			b.ReportMetric(median(ratios(rates[inC], rates[bare])), "C:bare")
			b.ReportMetric(median(ratios(rates[inGo], rates[inC])), "Go:C")
		})
	}
}

func ratios(a, b []float64) []float64 {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	return r
}

func median[T cmp.Ordered](list []T) T {
	s := slices.Sorted(slices.Values(list))
	return s[len(s)/2]
}
