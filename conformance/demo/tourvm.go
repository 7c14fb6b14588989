package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/guest"
	"github.com/vmnet-cni/vmnet/conformance/vm"
)

// tourVM shows a Linux guest, and a small one beside it.
func (d *demo) tourVM(ctx context.Context, one, two *member) error {
	b, err := d.visit(ctx, two)
	if err != nil {
		return err
	}
	d.head("%s: Linux in QEMU on the frame fd (emulated, so it takes its time)", one.id)
	fetched := make(chan struct{}) // closed when the small guest has fetched from the large one
	stop, err := serveOn(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			select {
			case <-fetched:
			case <-r.Context().Done():
			}
		}
		helloHandler(two).ServeHTTP(w, r)
	}))
	if err != nil {
		return err
	}
	defer stop()
	v, err := d.boot(ctx, one, two)
	if err != nil {
		return err
	}
	for _, s := range d.vmSteps(one, two) {
		if s.before != nil {
			if err := s.before(ctx, b); err != nil {
				return err
			}
			close(fetched)
		}
		if err := d.follow(ctx, v, s); err != nil {
			return err
		}
	}
	if _, err := v.Await(ctx, "done"); err != nil {
		return err
	}
	return d.step("power off", func() (string, error) { return "the guest is down, QEMU has ended", v.Wait(ctx) })
}

// A vmStep is a step of the Linux guest, and what its output must show.
type vmStep struct {
	vm.Step
	about string
	want  string
	// before is done on the small guest while the Linux guest is in this step.
	before func(context.Context, *guest.Guest) error
}

// vmSteps are those that fit this world.
func (d *demo) vmSteps(one, two *member) []vmStep {
	steps := []vmStep{
		{Step: vm.Step{Name: "ping", Command: "ping -c 1 -W 5 " + one.gw.String()}, about: "the gateway", want: "1 packets received"},
		{Step: vm.Step{Name: "dns", Command: "nslookup -type=a gateway.vm.internal"}, about: "gateway.vm.internal", want: one.gw.String()},
	}
	if w := d.world; w.name != "" {
		steps = append(steps, vmStep{Step: vm.Step{Name: "dns.outside", Command: "nslookup -type=a " + w.name}, about: w.name, want: w.addr.String()})
	}
	if w := d.world; w.url != "" {
		steps = append(steps, vmStep{Step: vm.Step{Name: "http.outside", Command: fetch(w.url)}, about: "GET " + w.url + " through NAT", want: strings.TrimSpace(pageText(w.addr.String()))})
	}
	other := two.addr.Addr().String()
	return append(steps,
		vmStep{Step: vm.Step{Name: "ping.guest", Command: "ping -c 1 -W 5 " + other}, about: two.id, want: "1 packets received"},
		vmStep{Step: vm.Step{Name: "http.guest", Command: fetch("http://" + other + "/")}, about: "GET http://" + other + "/, which is " + two.id, want: strings.TrimSpace(hello(two, one.addr.Addr().String()))},
		vmStep{Step: vm.Step{Name: "serve", Command: "mkdir -p /www; echo hello, this is " + one.id + " >/www/index.html; httpd -p 80 -h /www"}, about: "a web server in the guest"},
		vmStep{
			Step: vm.Step{Name: "wait", Command: fetch("http://" + other + "/wait")}, about: "until " + two.id + " has been here",
			before: func(ctx context.Context, g *guest.Guest) error {
				if err := d.ping(ctx, g, one.addr.Addr()); err != nil {
					return err
				}
				return d.get(ctx, g, "http://"+one.addr.Addr().String()+"/", "hello, this is "+one.id+"\n")
			},
		})
}

// fetch returns a command that fetches a page. wget's own -T crashes in the
// static busybox 1.35 of Debian 12.
func fetch(page string) string { return "timeout 30 wget -q -O - " + page }

// boot starts the Linux guest and waits until DHCP gave it its address.
func (d *demo) boot(ctx context.Context, one, two *member) (*vm.VM, error) {
	msg := one.pushed.Message
	mac, err := parseMAC(msg.MAC)
	if err != nil {
		return nil, err
	}
	var steps []vm.Step
	for _, s := range d.vmSteps(one, two) {
		steps = append(steps, s.Step)
	}
	var v *vm.VM
	err = d.step("boot", func() (string, error) {
		v, err = vm.Start(ctx, vm.Config{
			Frame: one.pushed.File, MAC: mac, MTU: msg.MTU, Steps: steps,
			Log: &console{p: d.printer, all: d.console, mark: vm.Mark},
		})
		if err != nil {
			return "", err
		}
		one.stop = func() { _ = v.Close() }
		_ = one.pushed.File.Close() // QEMU has its own
		one.pushed.File = nil
		text, err := v.Await(ctx, "boot")
		_, kernel, _ := strings.Cut(text, " ")
		return "Linux " + kernel, err
	})
	if err != nil {
		return nil, err
	}
	return v, d.step("DHCP", func() (string, error) {
		text, err := v.Await(ctx, "lease")
		if want := "address=" + one.addr.String() + " router=" + one.gw.String() + " "; err == nil && !strings.HasPrefix(text, want) {
			err = fmt.Errorf("lease %q, want %q: the CNI result", text, want)
		}
		return fmt.Sprintf("%s, router %s: as the CNI result says", one.addr, one.gw), err
	})
}

// follow waits for the end of a step, and checks what it printed.
func (d *demo) follow(ctx context.Context, v *vm.VM, s vmStep) error {
	var out []string
	for {
		var text string
		select {
		case line, ok := <-v.Lines():
			if !ok {
				return fmt.Errorf("step %s: the guest has ended", s.Name)
			}
			text, _ = strings.CutPrefix(line, vm.Mark)
		case <-ctx.Done():
			return fmt.Errorf("step %s: %w", s.Name, ctx.Err())
		}
		if line, ok := strings.CutPrefix(text, "out "+s.Name+" "); ok {
			out = append(out, line)
		}
		for _, how := range []string{"ok", "fail"} {
			if seconds, ok := strings.CutPrefix(text, "step "+s.Name+" "+how+" "); ok {
				return d.judge(s, how, seconds, strings.Join(out, "\n"))
			}
		}
	}
}

// judge prints a step of the Linux guest with the time that it took there.
func (d *demo) judge(s vmStep, how, seconds, out string) error {
	took, _ := time.ParseDuration(seconds + "s")
	if how == "ok" && strings.Contains(out, s.want) {
		d.line(markOK, took, s.Name, s.about)
		return nil
	}
	d.line(markFail, took, s.Name, s.about)
	return fmt.Errorf("step %s: %s, want %q in its output:\n%s", s.Name, how, s.want, out)
}
