package e2e_test

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/conformance/guest"
)

// upload sends n bytes by TCP from the guest to the outside, through the shim.
func upload(t testing.TB, w *world, g *guest.Guest, r *types100.Result, n int64) guest.Rate {
	t.Helper()
	at, accepted := w.accept(t, subnetOf(t, r))
	c, err := g.DialContext(soon(t), "tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := make(chan int64, 1)
	go func() {
		n, _ := guest.Drain(<-accepted)
		got <- n
	}()
	rate, err := guest.Send(soon(t), c, n)
	if err != nil {
		t.Fatal(err)
	}
	rate.Bytes = <-got
	return rate
}

// download sends n bytes by TCP from the outside to the guest, through the shim.
func download(t testing.TB, w *world, g *guest.Guest, r *types100.Result, n int64) guest.Rate {
	t.Helper()
	at, accepted := w.accept(t, subnetOf(t, r))
	c, err := g.DialContext(soon(t), "tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan int64, 1)
	go func() {
		n, _ := guest.Drain(c)
		got <- n
	}()
	h := <-accepted
	if h == nil {
		t.Fatal("nobody took the connection")
	}
	defer h.Close()
	rate, err := guest.Send(soon(t), h, n)
	if err != nil {
		t.Fatal(err)
	}
	rate.Bytes = <-got
	return rate
}

// BenchmarkTCP measures throughput at MTU 1500 between a guest in this process
// and a server of this process, through socket, shim and netstack: of the cores
// the guest needs its share too.
func BenchmarkTCP(b *testing.B) {
	for _, dir := range []struct {
		name string
		run  func(testing.TB, *world, *guest.Guest, *types100.Result, int64) guest.Rate
	}{{"guest-to-host", upload}, {"host-to-guest", download}} {
		for _, w := range ways()[:2] {
			b.Run(dir.name+"/"+w.frames, func(b *testing.B) {
				m := newMachine(b, map[string]any{"frames": w.frames})
				port, r := w.take(b, m, "a")
				g := newGuest(b, port, r)
				dir.run(b, netstack(), g, r, 1<<20) // warm
				const each = 64 << 20
				var sum guest.Rate
				b.SetBytes(each)
				b.ResetTimer()
				for range b.N {
					rate := dir.run(b, netstack(), g, r, each)
					sum.Bytes += rate.Bytes
					sum.Elapsed += rate.Elapsed
				}
				b.StopTimer()
				b.ReportMetric(sum.BitsPerSecond()/1e9, "Gbit/s")
				detach(b, m, "a", g)
			})
		}
	}
}

// BenchmarkPing measures a round trip: to the gateway, and to another guest.
func BenchmarkPing(b *testing.B) {
	m := newMachine(b, nil)
	portA, ra := push(b, m, "a")
	portB, rb := push(b, m, "b")
	x, y := newGuest(b, portA, ra), newGuest(b, portB, rb)
	_, gw := first(b, ra)
	other, _ := first(b, rb)
	for name, addr := range map[string]netip.Addr{"gateway": gw, "guest": other.Addr()} {
		b.Run(name, func(b *testing.B) {
			var sum time.Duration
			for range b.N {
				rtt, err := x.Ping(soon(b), addr)
				if err != nil {
					b.Fatal(err)
				}
				sum += rtt
			}
			b.ReportMetric(float64(sum.Microseconds())/float64(b.N), "µs/rtt")
		})
	}
	detach(b, m, "a", x)
	detach(b, m, "b", y)
}

// BenchmarkAddDel measures ADD and DEL as a runtime sees them, plugin process
// and all, with a shim that runs.
func BenchmarkAddDel(b *testing.B) {
	m := newMachine(b, nil)
	if _, err := m.Add(soon(b), "first", "vm://first"); err != nil {
		b.Fatal(err)
	}
	var add, del time.Duration
	b.ResetTimer()
	for k := range b.N {
		id := "n" + strconv.Itoa(k)
		start := time.Now()
		if _, err := m.Add(soon(b), id, "vm://"+id); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if err := m.Del(soon(b), id, "vm://"+id); err != nil {
			b.Fatal(err)
		}
		add, del = add+middle.Sub(start), del+time.Since(middle)
	}
	b.StopTimer()
	b.ReportMetric(float64(add.Microseconds())/float64(b.N)/1000, "ms/ADD")
	b.ReportMetric(float64(del.Microseconds())/float64(b.N)/1000, "ms/DEL")
	detach(b, m, "first", nil)
}

// BenchmarkMemory tells the resident memory of the shim with attachments whose
// guests have an address and have fetched a page.
func BenchmarkMemory(b *testing.B) {
	for _, count := range []int{1, 50} {
		b.Run(fmt.Sprintf("attachments=%d", count), func(b *testing.B) {
			for range b.N {
				b.ReportMetric(memory(b, count), "MiB")
			}
		})
	}
}

func memory(b *testing.B, count int) float64 {
	m := newMachine(b, nil)
	var page netip.AddrPort
	guests := make([]*guest.Guest, count)
	for k := range guests {
		port, r := push(b, m, "n"+strconv.Itoa(k))
		guests[k] = newGuest(b, port, r)
		if k == 0 {
			page = netstack().page(b, subnetOf(b, r))
		}
		fetch(b, guests[k], page)
	}
	s, err := m.Client.Status(soon(b))
	if err != nil {
		b.Fatal(err)
	}
	mib := resident(b, s.PID)
	for k, g := range guests {
		detach(b, m, "n"+strconv.Itoa(k), g)
	}
	return mib
}

// resident returns the resident memory of a process in MiB (proc_pid_status(5)).
func resident(b testing.TB, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}
