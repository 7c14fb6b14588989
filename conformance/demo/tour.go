package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/guest"
)

// tourGo shows two small guests.
func (d *demo) tourGo(ctx context.Context, one, two *member) error {
	a, err := d.visit(ctx, one)
	if err != nil {
		return err
	}
	b, err := d.visit(ctx, two)
	if err != nil {
		return err
	}
	d.head("%s and %s reach each other", one.id, two.id)
	stop, err := serve(a, one, b, two)
	if err != nil {
		return err
	}
	defer stop()
	for _, way := range []struct {
		g        *guest.Guest
		from, to *member
	}{{a, one, two}, {b, two, one}} {
		d.printf("  %14s  %s → %s\n", "", way.from.id, way.to.id)
		if err := d.ping(ctx, way.g, way.to.addr.Addr()); err != nil {
			return err
		}
		url := "http://" + way.to.addr.Addr().String() + "/"
		if err := d.get(ctx, way.g, url, hello(way.to, way.from.addr.Addr().String())); err != nil {
			return err
		}
	}
	return nil
}

// visit starts a guest and takes it through all that one guest can do.
func (d *demo) visit(ctx context.Context, mb *member) (*guest.Guest, error) {
	d.head("%s: a small guest in Go on the frame fd", mb.id)
	g, err := mb.start()
	if err != nil {
		return nil, err
	}
	steps := []func() error{
		func() error { return d.dhcp(ctx, g, mb) },
		func() error {
			return d.step("ARP", func() (string, error) {
				mac, err := g.ARP(ctx, mb.gw)
				return fmt.Sprintf("gateway %s is at %s", mb.gw, mac), err
			})
		},
		func() error { return d.ping(ctx, g, mb.gw) },
		func() error { return d.lookup(ctx, g, "gateway.vm.internal", mb.gw) },
		func() error { return d.outside(ctx, g) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, fmt.Errorf("%s: %w", mb.id, err)
		}
	}
	return g, nil
}

func (d *demo) dhcp(ctx context.Context, g *guest.Guest, mb *member) error {
	return d.step("DHCP", func() (string, error) {
		l, err := g.DHCP(ctx)
		if err == nil && (l.Address != mb.addr || l.Router != mb.gw || l.MTU != mb.pushed.Message.MTU) {
			err = fmt.Errorf("lease %s router %s mtu %d; the CNI result says %s, %s, %d",
				l.Address, l.Router, l.MTU, mb.addr, mb.gw, mb.pushed.Message.MTU)
		}
		return fmt.Sprintf("%s, router %s, mtu %d, for %s: as the CNI result says", l.Address, l.Router, l.MTU, l.LeaseTime), err
	})
}

func (d *demo) ping(ctx context.Context, g *guest.Guest, addr netip.Addr) error {
	return d.step("ping", func() (string, error) {
		rtt, err := g.Ping(ctx, addr)
		return fmt.Sprintf("%s answers in %d µs", addr, rtt.Microseconds()), err
	})
}

func (d *demo) lookup(ctx context.Context, g *guest.Guest, name string, want netip.Addr) error {
	return d.step("DNS", func() (string, error) {
		addrs, err := g.LookupHost(ctx, name)
		if err == nil && (len(addrs) != 1 || addrs[0] != want) {
			err = fmt.Errorf("%s is %v, want %s", name, addrs, want)
		}
		return fmt.Sprintf("%s is %s", name, want), err
	})
}

// outside looks the outside's name up and fetches its page, as far as there is one.
func (d *demo) outside(ctx context.Context, g *guest.Guest) error {
	w := d.world
	if w.name != "" {
		if err := d.lookup(ctx, g, w.name, w.addr); err != nil {
			return err
		}
	} else {
		d.line(markSkip, 0, "DNS", "names of the outside are left out: "+w.why)
	}
	if w.url == "" {
		d.line(markSkip, 0, "HTTP", "the outside is left out: "+w.why)
		return nil
	}
	return d.get(ctx, g, w.url, pageText(w.addr.String()))
}

// get fetches a page and compares it.
func (d *demo) get(ctx context.Context, g *guest.Guest, url, want string) error {
	return d.step("HTTP", func() (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return "", err
		}
		resp, err := g.HTTPClient().Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		if err != nil {
			return "", err
		}
		if resp.StatusCode != http.StatusOK || string(body) != want {
			return "", fmt.Errorf("GET %s: %s %q, want %q", url, resp.Status, body, want)
		}
		return fmt.Sprintf("GET %s says %q", url, strings.TrimSpace(string(body))), nil
	})
}

// hello is what the web server of a guest says to a client at the address from.
func hello(mb *member, from string) string { return fmt.Sprintf("hello %s, this is %s\n", from, mb.id) }

// serve starts a web server on both guests; stop ends them and waits.
func serve(a *guest.Guest, one *member, b *guest.Guest, two *member) (stop func(), err error) {
	stopA, err := serveOn(a, helloHandler(one))
	if err != nil {
		return nil, err
	}
	stopB, err := serveOn(b, helloHandler(two))
	if err != nil {
		stopA()
		return nil, err
	}
	return func() { stopA(); stopB() }, nil
}

func helloHandler(mb *member) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, _, _ := strings.Cut(r.RemoteAddr, ":")
		_, _ = io.WriteString(w, hello(mb, from))
	})
}

// serveOn starts a web server on port 80 of a guest.
func serveOn(g *guest.Guest, h http.Handler) (stop func(), err error) {
	l, err := g.Listen(80)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	return func() {
		if err := errors.Join(srv.Close(), l.Close()); err == nil {
			<-done
		}
	}, nil
}
