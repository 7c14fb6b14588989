package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// A world is what the demo runs in: where the outside is, and its servers.
type world struct {
	about string // a sentence for people
	addr  netip.Addr
	url   string // of the page outside; "" when there is no outside
	name  string // that the guests' DNS can forward; "" when it cannot
	why   string // why there is no name, or no outside

	mu      sync.Mutex // guards closers
	closers []func()
	servers sync.WaitGroup
}

// serveHTTP serves the page outside on l, which it owns.
func (w *world) serveHTTP(l net.Listener, host string) {
	srv := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			from, _, _ := net.SplitHostPort(r.RemoteAddr)
			_, _ = io.WriteString(rw, pageText(from))
		}),
	}
	w.servers.Go(func() { _ = srv.Serve(l) })
	w.onClose(func() { _ = srv.Close() })
	w.url = "http://" + host + "/"
}

// pageText is what the page outside says to a client at the address from.
func pageText(from string) string { return fmt.Sprintf("hello from outside, %s\n", from) }

func (w *world) onClose(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closers = append(w.closers, fn)
}

// close ends the servers and waits for them.
func (w *world) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fn := range w.closers {
		fn()
	}
	w.closers = nil
	w.servers.Wait()
}

// hostWorld is a world without namespaces: the outside is this machine's first
// address that is no loopback, and names are not the demo's to give.
func hostWorld(why string) *world {
	w := &world{about: "this machine itself, since " + why, why: "the resolvers of this machine are not the demo's to set"}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		w.why = err.Error()
		return w
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(n.IP.To4())
		if !ok || !addr.IsGlobalUnicast() {
			continue
		}
		l, err := net.Listen("tcp4", netip.AddrPortFrom(addr, 0).String())
		if err != nil {
			continue
		}
		w.addr = addr
		w.serveHTTP(l, l.Addr().String())
		return w
	}
	w.why = "this machine has no address but loopback"
	return w
}
