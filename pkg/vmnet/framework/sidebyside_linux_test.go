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

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

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

// A workload is what a sample measures.
type workload struct {
	name, mode, kind string
	size             int
}

func (w workload) String() string { return fmt.Sprintf("%s/%d", w.name, w.size) }

// sides are who can do it.
func (w workload) sides() []string {
	if w.kind == handover.KindStream {
		return []string{inGo, bare}
	}
	return []string{inGo, inC, bare}
}

// command is the process at the far end of the frame socket.
func (p programs) command(side string, w workload) *exec.Cmd {
	how := "0"
	if w.size > 1514 {
		how = "1"
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), framework.LibraryEnv+"="+p.lib,
		fmt.Sprintf("LIBVMNET_TEST=traffic=%s,source.size=%d", w.mode, w.size))
	stream := w.kind == handover.KindStream
	switch side {
	case inC:
		cmd.Path, cmd.Args = p.relay, []string{"relay", how}
	case bare:
		cmd.Path, cmd.Args = p.bare, []string{"bare", w.mode, strconv.Itoa(w.size)}
		if stream {
			cmd.Args = append(cmd.Args, w.kind)
		}
	default:
		if stream {
			how += "s"
		}
		cmd.Env = append(cmd.Env, relayEnv+"="+how)
	}
	cmd.Stderr = os.Stderr
	return cmd
}

// A reading is what a sample measured: frames (or round trips) a second, and the
// processor time that the process at the far end took for each, in microseconds.
type reading struct{ rate, cpu float64 }

// sample starts one side on the far end of a new frame socket and measures it for
// a while, once frames pass.
func (p programs) sample(b *testing.B, side string, w workload, d time.Duration) reading {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	near, far, _ := pair(b, w.kind, w.size)
	defer far.Close()
	cmd := p.command(side, w)
	cmd.ExtraFiles = []*os.File{far}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	g := newRawGuest(b, near, w.kind, w.size)
	defer func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // it was killed
		g.file.Close()
	}()
	if w.mode == echo {
		g.hello(b)
	}
	if w.mode == source { // begins with an event, or with what the guest sends
		g.receive(b, 1)
	}
	g.move(b, w.mode, d/5) // warm: sockets, caches, the relay's batches
	before := cpuTime(b, cmd.Process.Pid)
	frames := g.move(b, w.mode, d)
	used := cpuTime(b, cmd.Process.Pid) - before
	return reading{frames / d.Seconds(), float64(used.Microseconds()) / frames}
}

// cpuTime returns the processor time that a process has taken, by its clock
// (clock_getcpuclockid(3)).
func cpuTime(b *testing.B, pid int) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
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
	const dgram, stream = handover.KindDgram, handover.KindStream
	for _, w := range []workload{
		{"from guest", sink, dgram, 1514}, {"to guest", source, dgram, 1514},
		{"from guest", sink, dgram, 65226}, {"to guest", source, dgram, 65226},
		{"round trip", echo, dgram, 98},
		{"stream from guest", sink, stream, 1514}, {"stream to guest", source, stream, 1514},
	} {
		b.Run(strings.ReplaceAll(w.String(), " ", "-"), func(b *testing.B) {
			rates, cpus := map[string][]float64{}, map[string][]float64{}
			for round := range b.N {
				sides := w.sides()
				for k := range sides { // another order every time
					side := sides[(k+round)%len(sides)]
					r := p.sample(b, side, w, sideBySide)
					rates[side], cpus[side] = append(rates[side], r.rate), append(cpus[side], r.cpu)
				}
			}
			b.ReportMetric(0, "ns/op")
			for side, r := range rates {
				b.ReportMetric(median(r), side+"/s")
				b.ReportMetric(median(cpus[side]), side+"-cpu-µs")
			}
			b.ReportMetric(median(ratios(rates[inGo], rates[bare])), "Go:bare")
			if rates[inC] != nil {
				b.ReportMetric(median(ratios(rates[inC], rates[bare])), "C:bare")
				b.ReportMetric(median(ratios(rates[inGo], rates[inC])), "Go:C")
			}
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
