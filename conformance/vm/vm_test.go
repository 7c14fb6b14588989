package vm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/vm"
	"github.com/vmnet-cni/vmnet/conformance/vm/vmtest"
	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

var guestMAC = net.HardwareAddr{0x02, 0x5e, 0xed, 0, 0, 7}

// arping is a step that needs an answer from 10.9.8.1.
var arping = []vm.Step{
	{Name: "address", Command: "ip addr add 10.9.8.7/24 dev eth0"},
	{Name: "arping", Command: "arping -c 1 -w 20 -I eth0 10.9.8.1"},
	{Name: "wrong", Command: "echo so; false; echo never"},
}

// answer answers every ARP request on p until the port is closed.
func answer(p relay.Port, seen func(frame []byte)) {
	bufs, sizes := relay.NewBuffers(16, 1514), make([]int, 16)
	for {
		n, err := p.ReadBatch(bufs, sizes)
		if err != nil {
			return
		}
		for k := range n {
			f := bufs[k][:sizes[k]]
			seen(f)
			if len(f) < 42 || binary.BigEndian.Uint16(f[12:]) != 0x0806 || f[21] != 1 {
				continue
			}
			reply := bytes.Clone(f[:42]) // RFC 826: sender and target change places
			host := []byte{2, 0, 0, 0, 0, 1}
			copy(reply[0:6], f[6:12])
			copy(reply[6:12], host)
			reply[21] = 2
			copy(reply[22:28], host)
			copy(reply[28:32], f[38:42])
			copy(reply[32:42], f[22:32])
			_, _ = p.WriteBatch([][]byte{reply})
		}
	}
}

// run boots a guest whose frames are answered by p, and checks what it says.
func run(t *testing.T, cfg vm.Config, p relay.Port) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var console bytes.Buffer
	macs := map[string]int{}
	cfg.MAC, cfg.MTU, cfg.NoDHCP, cfg.Steps = guestMAC, 1400, true, arping
	cfg.Log = &console
	started := time.Now()
	g, err := vm.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Frame != nil {
		cfg.Frame.Close()
	}
	defer g.Close()
	answered := make(chan bool)
	go func() {
		defer close(answered)
		answer(p, func(f []byte) {
			mu.Lock()
			defer mu.Unlock()
			macs[net.HardwareAddr(f[6:12]).String()]++
		})
	}()
	defer func() { p.Close(); <-answered }()

	for _, want := range []struct{ what, contains string }{
		{"boot", "amd64"},
		{"link", guestMAC.String() + " 1400"},
		{"step address ok", ""},
		{"out arping", ""},
		{"step arping ok", ""},
		{"out wrong", "so"},
		{"step wrong fail", ""},
		{"done", ""},
	} {
		got, err := g.Await(ctx, want.what)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%6.2fs %s %s", time.Since(started).Seconds(), want.what, got)
		if !strings.Contains(got, want.contains) {
			t.Errorf("%s %s: want %q in it", want.what, got, want.contains)
		}
	}
	if err := g.Wait(ctx); err != nil {
		t.Errorf("QEMU: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if macs[guestMAC.String()] == 0 || len(macs) != 1 {
		t.Errorf("frames came from %v, want only %s", macs, guestMAC)
	}
	if strings.Contains(console.String(), "never") {
		t.Errorf("a step went on after a command that failed")
	}
}

func TestDatagram(t *testing.T) {
	vmtest.Need(t)
	t.Setenv("TMPDIR", t.TempDir())
	guest, host, err := handover.Pair(handover.KindDgram, 1514, false)
	if err != nil {
		t.Fatal(err)
	}
	p, err := relay.NewDatagramPort(host, 1514)
	if err != nil {
		t.Fatal(err)
	}
	run(t, vm.Config{Frame: guest}, p)
	nothingLeft(t)
}

func TestStream(t *testing.T) {
	vmtest.Need(t)
	t.Setenv("TMPDIR", t.TempDir())
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	run(t, vm.Config{StreamPath: path}, &lazyPort{l: l})
	nothingLeft(t)
}

// nothingLeft checks that no temporary file is left.
func nothingLeft(t *testing.T) {
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// lazyPort accepts its connection when it is first read.
type lazyPort struct {
	relay.Port
	l *net.UnixListener
}

func (p *lazyPort) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	if p.Port == nil {
		c, err := p.l.AcceptUnix()
		if err != nil {
			return 0, err
		}
		f, err := c.File()
		c.Close()
		if err == nil {
			p.Port, err = relay.NewStreamPort(f, 1514)
		}
		if err != nil {
			return 0, err
		}
	}
	return p.Port.ReadBatch(bufs, sizes)
}

func (p *lazyPort) Close() error {
	p.l.Close()
	if p.Port == nil {
		return nil
	}
	return p.Port.Close()
}

// TestKill checks that a guest that does not end is ended.
func TestKill(t *testing.T) {
	vmtest.Need(t)
	t.Setenv("TMPDIR", t.TempDir())
	for name, end := range map[string]func(*vm.VM, context.CancelFunc){
		"close":  func(g *vm.VM, _ context.CancelFunc) { g.Close() },
		"cancel": func(_ *vm.VM, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			guest, host, err := handover.Pair(handover.KindDgram, 1514, false)
			if err != nil {
				t.Fatal(err)
			}
			defer host.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			g, err := vm.Start(ctx, vm.Config{Frame: guest, MAC: guestMAC})
			guest.Close()
			if err != nil {
				t.Fatal(err)
			}
			end(g, cancel)
			wait, cancelWait := context.WithTimeout(t.Context(), time.Minute)
			defer cancelWait()
			if err := g.Wait(wait); err == nil || wait.Err() != nil {
				t.Errorf("QEMU ended with %v, want it killed", err)
			}
			if _, err := g.Await(wait, "done"); err == nil {
				t.Errorf("a guest that was killed says it is done")
			}
			for range 2 {
				g.Close()
			}
			nothingLeft(t)
		})
	}
}

func TestBadConfig(t *testing.T) {
	none := vm.Kernel{Image: "/none", Modules: "/none"}
	ok := vm.Config{StreamPath: "/s", MAC: guestMAC, QEMU: "/none", Busybox: "/none", Kernel: none}
	for name, c := range map[string]struct {
		change func(*vm.Config)
		want   string
	}{
		"no socket":     {func(c *vm.Config) { c.StreamPath = "" }, "want one of Frame"},
		"two sockets":   {func(c *vm.Config) { c.Frame = os.Stdin }, "want one of Frame"},
		"no MAC":        {func(c *vm.Config) { c.MAC = nil }, "want 6 bytes"},
		"comma in path": {func(c *vm.Config) { c.StreamPath = "/a,b" }, "comma"},
		"no modules":    {func(c *vm.Config) {}, "modules of kernel none"},
	} {
		cfg := ok
		c.change(&cfg)
		if _, err := vm.Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}

func TestFindKernel(t *testing.T) {
	root := t.TempDir()
	t.Setenv(vm.KernelEnv, root)
	if _, err := vm.FindKernel(); !errors.Is(err, vm.ErrMissing) || !strings.Contains(err.Error(), root) {
		t.Errorf("empty directory: %v", err)
	}
	for _, dir := range []string{"boot", "lib/modules/6.1.0-2-cloud-amd64/kernel"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, release := range []string{"6.1.0-2-cloud-amd64", "6.1.0-3-cloud-amd64"} { // the second has no modules
		if err := os.WriteFile(filepath.Join(root, "boot/vmlinuz-"+release), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	k, err := vm.FindKernel()
	if err != nil || k.Release() != "6.1.0-2-cloud-amd64" || filepath.Base(k.Image) != "vmlinuz-6.1.0-2-cloud-amd64" {
		t.Errorf("found %+v, %v", k, err)
	}
}
