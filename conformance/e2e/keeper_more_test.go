package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/guest"
	"github.com/vmnet-cni/vmnet/conformance/vm"
	"github.com/vmnet-cni/vmnet/conformance/vm/vmtest"
	"github.com/vmnet-cni/vmnet/internal/port"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// TestCrashLoop has a shim die again and again, since it cannot use its state
// directory: STATUS and CHECK say so, and when the cause is gone the shim comes back
// by itself, with its guests.
func TestCrashLoop(t *testing.T) {
	m := newMachine(t, nil)
	hasty := netstack().machineIn(t, filepath.Dir(m.Dirs.State), map[string]any{"shim": map[string]any{"timeout": "2s"}})
	defer hasty.Client.Close()
	portA, ra := push(t, m, "a")
	portB, rb := push(t, m, "b")
	a, b := newTalker(t, portA, ra), newTalker(t, portB, rb)
	talk(a, b)
	defer a.end()
	defer b.end()
	a.hears(t, time.Now())
	s, err := m.Client.Status(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := m.Dirs.AttachmentRecords()
	if err := errors.Join(os.Rename(dir, dir+".away"), os.WriteFile(dir, nil, 0o600), syscall.Kill(s.PID, syscall.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	wait(t, "ten deaths", func() bool {
		p, err := shim.KeeperProblem(m.Dirs.Runtime)
		return err == nil && p != ""
	})
	var e *types.Error
	if err := hasty.Status(soon(t)); !errors.As(err, &e) || e.Code != 51 || !strings.Contains(err.Error(), "the shim has died 10 times within a minute, the last time: exit status 1") {
		t.Errorf("STATUS: %v, want code 51 with what the keeper knows", err)
	}
	if err := hasty.Check(soon(t), "a", ra.Interfaces[0].Sandbox); err == nil || !strings.Contains(err.Error(), "the shim has died 10 times") {
		t.Errorf("CHECK: %v, want what the keeper knows", err)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
		t.Fatal(err)
	}
	wait(t, "a shim that works", func() bool {
		now, err := m.Client.Status(soon(t))
		return err == nil && now.Keeper == s.Keeper && now.Attachments == 2
	})
	from := time.Now()
	a.hears(t, from)
	b.hears(t, from)
	if err := errors.Join(m.Status(soon(t)), m.Check(soon(t), "a", ra.Interfaces[0].Sandbox)); err != nil {
		t.Errorf("then: %v", err)
	}
	for _, id := range []string{"a", "b"} {
		if err := m.Del(soon(t), id, ""); err != nil {
			t.Error(err)
		}
	}
}

// TestKeeperForward has the shim die while its port is in use: nobody who connects
// from outside is refused, not even while there is no shim.
func TestKeeperForward(t *testing.T) {
	m := newMachine(t, nil)
	frames, r := push(t, m, "first") // starts the shim
	defer frames.Close()
	n, err := m.Client.Network(soon(t), m.Network())
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port.Free(t, 1)[0])
	req := shim.AttachRequest{
		Network:  shim.NetworkSpec{Subnet: n.Subnet, HostLoopback: true},
		Forwards: []shim.Forward{{HostIP: at.Addr(), HostPort: at.Port(), ContainerPort: 80}},
	}
	att, err := m.Client.Attach(soon(t), m.Network(), "fwd", "eth0", req)
	if err != nil {
		t.Fatal(err)
	}
	msg, f, err := m.Client.Frames(soon(t), m.Network(), "fwd", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	gport, err := guest.OpenPort(f, msg.MaxFrameSize)
	if err != nil {
		t.Fatal(err)
	}
	mac, _ := net.ParseMAC(att.MAC)
	g, err := guest.New(gport, guest.Config{MAC: mac})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.DHCP(soon(t)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	l, err := g.Listen(80)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _, _ = io.WriteString(c, "hello\n"); c.Close() })
		}
	})
	hello := func(from string) {
		t.Helper()
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Errorf("%s: %v, want nobody refused", from, err)
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if data, err := io.ReadAll(c); string(data) != "hello\n" {
			t.Errorf("%s: %q, %v", from, data, err)
		}
	}
	hello("before")
	for i := range 4 {
		s, err := m.Client.Status(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		hello("death " + strconv.Itoa(i))
		wait(t, "another shim", func() bool {
			now, err := m.Client.Status(soon(t))
			return err == nil && now.PID != s.PID
		})
	}
	for _, id := range []string{"fwd", "first"} {
		if err := m.Client.Detach(soon(t), m.Network(), id, "eth0"); err != nil {
			t.Error(err)
		}
	}
	if c, err := net.Dial("tcp", at.String()); err == nil { // at once: DEL has waited for the keeper
		c.Close()
		t.Error("the port is still open after the detach")
	}
	if err := m.Del(soon(t), "first", r.Interfaces[0].Sandbox); err != nil {
		t.Error(err)
	}
}

// linuxTalks boots a Linux guest, and a small guest beside it that pings it.
func linuxTalks(t *testing.T, m *e2e.Machine, kind string) (linux, beside *types100.Result, p *pinger) {
	t.Helper()
	vmtest.Need(t)
	cfg := vm.Config{Lifetime: time.Hour, Steps: []vm.Step{{Name: "stay", Command: "sleep 7200"}}}
	if kind == "stream" {
		r, err := m.Add(soon(t), "linux", "vm://linux")
		if err != nil {
			t.Fatal(err)
		}
		linux, cfg.StreamPath = r, r.Interfaces[0].SocketPath
	} else {
		p, err := m.AddPush(soon(t), "linux")
		if err != nil {
			t.Fatal(err)
		}
		defer p.File.Close()
		if linux, cfg.Frame = p.Result, p.File; kind == "tap" {
			cfg.Frame, cfg.Tap = nil, p.File
		}
	}
	var console bytes.Buffer
	var err error
	if cfg.MAC, err = net.ParseMAC(linux.Interfaces[0].Mac); err != nil {
		t.Fatal(err)
	}
	cfg.MTU, cfg.Log = linux.Interfaces[0].Mtu, &console
	g, err := vm.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if _, err := g.Await(ctx, "step stay begin"); err != nil {
		g.Close()
		t.Fatalf("%v\nthe console:\n%s", err, console.String())
	}
	port, beside := push(t, m, "beside")
	addr, _ := first(t, linux)
	return linux, beside, ping(newGuest(t, port, beside), "linux", addr.Addr())
}

// TestKeeperLinux kills the shim while a real Linux guest pings its gateway and
// fetches pages: it keeps its interface and its address, and neither stops working.
func TestKeeperLinux(t *testing.T) {
	vmtest.Need(t)
	t.Run("netstack", func(t *testing.T) { linuxSurvives(t, netstack()) })
	if *keeperKills > 8 { // the long run
		t.Run("tap", func(t *testing.T) { linuxSurvives(t, kernel(t)) })
	}
}

func linuxSurvives(t *testing.T, w *world) {
	m := w.machine(t, nil)
	p, err := m.AddPush(soon(t), "linux")
	if err != nil {
		t.Fatal(err)
	}
	addr, gw := first(t, p.Result)
	page := w.page(t, addr)
	mac, err := net.ParseMAC(p.Result.Interfaces[0].Mac)
	if err != nil {
		t.Fatal(err)
	}
	fetch := fmt.Sprintf("timeout 2 wget -q -O - http://%s/ 2>/dev/null | grep -q 'page of the host'", page)
	again := "for i in 1 2 3 4 5 6; do if %s; then exit 0; fi; done; exit 1"
	var console bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	g, err := vm.Start(ctx, vm.Config{Frame: p.File, MAC: mac, Log: &console, Steps: []vm.Step{
		{Name: "before", Command: fmt.Sprintf("ping -c 1 -W 30 %s && %s", gw, fetch)},
		{Name: "during", Command: fmt.Sprintf("p=0; h=0; for i in $(seq 8); do if ping -c 1 -W 1 %s >/dev/null; then p=$((p+1)); fi; if %s; then h=$((h+1)); fi; sleep 0.3; done; echo pings=$p pages=$h", gw, fetch)},
		{Name: "address", Command: "ip -4 addr show dev eth0 | grep -q " + addr.String()},
		{Name: "ping", Command: fmt.Sprintf(again, "ping -c 1 -W 5 "+gw.String())},
		{Name: "http", Command: fmt.Sprintf(again, fetch)},
	}})
	p.File.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	step := func(what string) string {
		t.Helper()
		got, err := g.Await(ctx, what)
		if err != nil {
			g.Close()
			t.Fatalf("%s: %v\nthe console:\n%s", what, err, console.String())
		}
		return got
	}
	step("step before ok")
	var killers sync.WaitGroup
	stop := make(chan struct{})
	kills := 0
	killers.Go(func() {
		for {
			if s, err := m.Client.Status(soon(t)); err == nil {
				_ = syscall.Kill(s.PID, syscall.SIGKILL)
				kills++
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(200+rand.IntN(600)) * time.Millisecond): // the instant is the point
			}
		}
	})
	during := step("out during")
	close(stop)
	killers.Wait()
	t.Logf("%s: %d deaths of the shim; of 8 each: %s", w.name, kills, during)
	for _, what := range []string{"step during ok", "step address ok", "step ping ok", "step http ok", "done"} {
		step(what)
	}
	if err := g.Wait(ctx); err != nil {
		t.Errorf("QEMU: %v", err)
	}
	if kills == 0 {
		t.Error("the shim never died")
	}
	if err := m.Del(soon(t), "linux", ""); err != nil {
		t.Error(err)
	}
}

// TestKeeperThenUpgrade kills the keeper, and then has another shim take over while
// nobody asks for anything: the old one does not wait for a client to end.
func TestKeeperThenUpgrade(t *testing.T) {
	m := newMachine(t, nil)
	port, r := push(t, m, "a")
	defer port.Close()
	before, err := m.Client.Status(soon(t))
	if err == nil {
		err = syscall.Kill(before.Keeper, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "another keeper", func() bool {
		now, err := m.Client.Status(soon(t))
		m.Client.Close() // so that every question is a connection
		return err == nil && now.Keeper != before.Keeper && now.PID == before.PID
	})
	if _, err := m.Client.Status(soon(t)); err != nil {
		t.Fatal(err)
	}
	m.Client.Close()
	if err := syscall.Kill(before.PID, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	wait(t, "the old shim's end", func() bool { return !e2e.Running(before.PID) })
	if now, err := m.Client.Status(soon(t)); err != nil || now.PID == before.PID || now.Attachments != 1 {
		t.Errorf("then: %+v, %v", now, err)
	}
	if err := m.Del(soon(t), "a", r.Interfaces[0].Sandbox); err != nil {
		t.Error(err)
	}
}
