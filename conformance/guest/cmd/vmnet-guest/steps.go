package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/guest"
)

// steps does one thing after the other and tells about each.
type steps struct {
	g      *guest.Guest
	json   bool
	out    io.Writer
	failed int
}

// A line is a step as -output json prints it.
type line struct {
	Step    string  `json:"step"`
	OK      bool    `json:"ok"`
	Seconds float64 `json:"seconds"`
	Detail  string  `json:"detail"`
}

// do runs one step, prints it, and reports whether it went well.
func (s *steps) do(name string, fn func() (detail string, err error)) bool {
	start := time.Now()
	detail, err := fn()
	took := time.Since(start)
	mark := "ok  "
	if err != nil {
		s.failed++
		mark, detail = "FAIL", err.Error()
	}
	if s.json {
		_ = json.NewEncoder(s.out).Encode(line{name, err == nil, took.Seconds(), detail})
	} else {
		fmt.Fprintf(s.out, "%s %10s  %-8s %s\n", mark, took.Round(time.Microsecond), name, detail)
	}
	return err == nil
}

// all does every step that the flags ask for. Without an address there is no
// sense in going on.
func (s *steps) all(ctx context.Context, o options) error {
	var lease guest.Lease
	ok := s.do("dhcp", func() (string, error) {
		var err error
		lease, err = s.g.DHCP(ctx)
		return fmt.Sprintf("%s router %s dns %v domain %s mtu %d", lease.Address, lease.Router, lease.DNS, lease.Domain, lease.MTU), err
	})
	if !ok {
		return errors.New("no address")
	}
	if lease.Router.IsValid() {
		s.do("arp", func() (string, error) {
			mac, err := s.g.ARP(ctx, lease.Router)
			return fmt.Sprintf("%s is at %s", lease.Router, mac), err
		})
		s.ping(ctx, lease.Router)
	}
	for _, text := range o.ping {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("-ping %q: want an address", text)
		}
		s.ping(ctx, addr)
	}
	for _, name := range o.lookup {
		s.do("dns", func() (string, error) {
			addrs, err := s.g.LookupHost(ctx, name)
			return fmt.Sprintf("%s is %v", name, addrs), err
		})
	}
	for _, url := range o.get {
		s.do("http", func() (string, error) { return get(ctx, s.g.HTTPClient(), url) })
	}
	if s.failed > 0 {
		return fmt.Errorf("%d steps went wrong", s.failed)
	}
	return nil
}

func (s *steps) ping(ctx context.Context, addr netip.Addr) {
	s.do("ping", func() (string, error) {
		rtt, err := s.g.Ping(ctx, addr)
		return fmt.Sprintf("%s answers in %s", addr, rtt.Round(time.Microsecond)), err
	})
}

// get fetches a URL and tells status and size.
func get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	return fmt.Sprintf("%s: %s, %d bytes", url, resp.Status, n), err
}

// serve answers HTTP requests until ctx is done or the other side has gone.
func (s *steps) serve(ctx context.Context) error {
	l, err := s.g.Listen(80)
	if err != nil {
		return err
	}
	addr := s.g.Lease().Address.Addr()
	srv := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "hello %s, this is %s\n", r.RemoteAddr, addr)
		}),
	}
	s.do("serve", func() (string, error) { return fmt.Sprintf("http://%s/", addr), nil })
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	select {
	case <-ctx.Done():
	case <-s.g.Gone():
	}
	err = srv.Close()
	<-done
	return err
}
