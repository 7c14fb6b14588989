package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/conformance/vm"
)

// A machine is a real guest on one way to the outside: how its QEMU gets a network
// card, and what it does before it is measured.
type machine struct {
	name   string
	script string   // sh's: QEMU's arguments but the card's are "$@"
	env    []string // of script
	setUp  string   // the guest's sh; empty: it has its address by DHCP
}

const (
	qemuUser   = "QEMU user"
	qemuTap    = "QEMU tap, kernel"
	qemuDgram  = "netstack, datagrams"
	qemuStream = "netstack, stream"
	qemuOurTap = "driver tap, its tap"
)

// machines makes what the guests are plugged into. What cannot be made is left out.
func machines(w *world, o options, r *report) (list []machine) {
	const card = ` -device virtio-net-pci,netdev=net0,romfile=`
	add := func(m machine, err error) {
		switch {
		case !strings.Contains(m.name, o.who):
		case err != nil:
			r.leftOut("qemu: "+m.name, err)
		default:
			list = append(list, m)
		}
	}
	add(machine{name: qemuUser, script: `exec qemu-system-x86_64 "$@" -netdev user,id=net0` + card}, nil)
	add(machine{
		name: qemuTap, script: `exec qemu-system-x86_64 "$@" -netdev tap,id=net0,ifname=qemu0,script=no,downscript=no,vhost=off` + card,
		setUp: "ip addr add 192.0.2.2/24 dev eth0; ip route add default via 192.0.2.1",
	}, w.qemuTap())
	s, err := startShim(w, o, "qemu")
	if err != nil {
		r.leftOut("qemu: ours", err)
		return list
	}
	shim := filepath.Join(filepath.Dir(s.plugin), "vmnet-shim")
	run := func(flags, netdev string) string {
		return shim + ` run --no-spawn ` + flags + ` -- sh -c 'exec qemu-system-x86_64 "$@" -netdev ` + netdev + card + `,mac="$VMNET_MAC"' qemu "$@"`
	}
	env := append(os.Environ(), s.env...)
	add(machine{name: qemuDgram, env: env, script: run("--network bench --driver netstack", `dgram,id=net0,local.type=fd,local.str="$VMNET_FD"`)}, nil)
	add(machine{name: qemuStream, env: env, script: run("--network bench --driver netstack --frames stream", `stream,id=net0,server=off,addr.type=fd,addr.str="$VMNET_FD"`)}, nil)
	add(machine{name: qemuOurTap, env: env, script: run("--network fast --driver tap --frames tap --offload", `tap,id=net0,fd="$VMNET_FD",vhost=off`)}, nil)
	return list
}

// qemuTap makes a tap for QEMU and has the kernel translate its addresses.
func (w *world) qemuTap() error {
	rules := filepath.Join(w.dir, "qemu.nft")
	return errors.Join(
		w.ip(w.host, "tuntap add qemu0 mode tap vnet_hdr"),
		w.ip(w.host, "addr add 192.0.2.1/24 dev qemu0"),
		w.ip(w.host, "link set qemu0 up"),
		os.WriteFile(rules, []byte("table ip qemu { chain post { type nat hook postrouting priority srcnat; ip saddr 192.0.2.0/24 oifname up0 masquerade; }; }\n"), 0o600),
		w.sh(w.host, "nft", "-f", rules),
	)
}

// A booted is a machine that runs, and asks for orders.
type booted struct {
	machine
	vm      *vm.VM
	in      *json.Decoder
	out     *json.Encoder
	conn    net.Conn
	samples samples
}

// bootTime is how long an emulated guest may take to ask for its first order.
const bootTime = 2 * time.Minute

// runQEMU measures real guests on QEMU's own network backends and on ours, in turns.
func runQEMU(ctx context.Context, o options, r *report) error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces and taps need root")
	}
	for _, find := range []func() (string, error){vm.FindQEMU, vm.FindBusybox, func() (string, error) { k, err := vm.FindKernel(); return k.Image, err }} {
		if _, err := find(); err != nil {
			return err
		}
	}
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	l, err := w.listen()
	if err != nil {
		return err
	}
	defer l.Close()
	var all []*booted
	for _, m := range machines(w, o, r) {
		b, err := w.boot(m, l)
		if err != nil {
			r.leftOut("qemu: "+m.name, err)
			continue
		}
		defer b.vm.Close()
		defer b.conn.Close()
		all = append(all, b)
	}
	rounds := max(3, o.rounds/2)
	for i := range rounds {
		for k := range all {
			b := all[(i+k)%len(all)]
			if err := b.round(w, o); err != nil {
				r.leftOut(fmt.Sprintf("qemu: %s, round %d", b.name, i+1), err)
			}
		}
	}
	qemuTable(r, all)
	return ctx.Err()
}

// listen returns a listener in the outside: a socket stays in the namespace of the
// thread that made it. The thread goes back, and does not end: with it would end the
// processes that it started (PR_SET_PDEATHSIG).
func (w *world) listen() (*net.TCPListener, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer here.Close()
	there, err := os.Open(w.outside)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.ParseIP(outsideAddr)})
	return l, errors.Join(err, unix.Setns(int(here.Fd()), unix.CLONE_NEWNET))
}

// boot starts a guest and waits until it asks for orders.
func (w *world) boot(m machine, l *net.TCPListener) (*booted, error) {
	step := w.guestProgram() + " child-agent " + l.Addr().String()
	if m.setUp != "" {
		step = m.setUp + "\n" + step
	}
	v, err := vm.Start(w.ctx, vm.Config{
		Script: []string{"nsenter", "--net=" + w.host, "--", "sh", "-c", m.script, "qemu"}, Env: m.env,
		NoDHCP: m.setUp != "", Programs: []string{w.self}, Memory: 320,
		Steps: []vm.Step{{Name: "agent", Command: step}},
	})
	if err != nil {
		return nil, err
	}
	_ = l.SetDeadline(time.Now().Add(bootTime))
	go func() {
		for range v.Lines() { // so that the guest never waits for a reader
		}
	}()
	c, err := l.Accept()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the guest did not ask for orders within %v: %w", bootTime, err), v.Close())
	}
	return &booted{machine: m, vm: v, conn: c, in: json.NewDecoder(c), out: json.NewEncoder(c)}, nil
}

// guestProgram is this program's name in a guest.
func (w *world) guestProgram() string { return filepath.Base(w.self) }

// round gives a guest one turn at everything.
func (b *booted) round(w *world, o options) error {
	for _, m := range []struct {
		mode byte
		long time.Duration
		to   *[]float64
	}{{upload, o.slice, &b.samples.up}, {download, o.slice, &b.samples.down}, {echo, rttSlice, &b.samples.rtt}} {
		_ = b.conn.SetDeadline(time.Now().Add(m.long + 20*time.Second))
		if err := b.out.Encode(order{w.server.String(), m.mode, m.long}); err != nil {
			return err
		}
		var a answer
		if err := b.in.Decode(&a); err != nil {
			return err
		}
		switch {
		case a.Err != "":
			return errors.New(a.Err)
		case m.mode == echo:
			*m.to = append(*m.to, a.RTT)
		default:
			*m.to = append(*m.to, float64(a.Bytes)*8/float64(a.Nanos))
		}
	}
	return nil
}

// qemuTable prints each beside QEMU's own of the same privilege: netstack beside the
// user netdev, driver tap beside a tap.
func qemuTable(r *report, all []*booted) {
	t := &table{
		Title: "A real guest in QEMU (emulated, 1 processor), MTU 1500; medians, and ratios to QEMU's own of the same rounds", File: "qemu",
		Columns: []string{"guest → outside, Gbit/s", "outside → guest, Gbit/s", "TCP round trip, µs", "→ : QEMU's", "← : QEMU's", "round trip : QEMU's"},
		Plot:    []int{0, 1, 2},
	}
	seen := map[string]samples{}
	for _, b := range all {
		seen[b.name] = b.samples
	}
	for _, b := range all {
		s, theirs := b.samples, seen[qemuUser]
		if b.name == qemuOurTap || b.name == qemuTap {
			theirs = seen[qemuTap]
		}
		t.Rows = append(t.Rows, row{b.name, b.name != qemuUser && b.name != qemuTap, []float64{
			median(s.up), median(s.down), median(s.rtt), ratio(s.up, theirs.up), ratio(s.down, theirs.down), ratio(s.rtt, theirs.rtt),
		}})
	}
	if len(t.Rows) > 0 {
		r.Tables = append(r.Tables, t)
	}
}
