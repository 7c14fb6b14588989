package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/tempdir"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A fakeShim answers as a shim does, from memory and without frames. It serves
// the tests of what the plugin makes of answers; the real shim has the tests in
// e2e_test.go.
type fakeShim struct {
	path string

	mu   sync.Mutex
	atts map[string]shim.Attachment
	reqs map[string]shim.AttachRequest
	fail map[string]error         // by "METHOD last element"; a *shim.Error or errHang
	free int                      // of every network
	edit func(a *shim.Attachment) // changes what GET tells
}

var errHang = fmt.Errorf("hang")

func newFakeShim(t testing.TB) *fakeShim {
	t.Helper()
	dir, err := tempdir.Make("fake") // short: the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &fakeShim{
		path: filepath.Join(dir, "shim.sock"), free: 250,
		atts: map[string]shim.Attachment{}, reqs: map[string]shim.AttachRequest{}, fail: map[string]error{},
	}
	l, err := net.Listen("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	const att = "/v1/networks/{network}/attachments/{id}/{if}"
	mux.HandleFunc("GET /v1/status", f.reply("GET status", func(*http.Request) any { return shim.Status{} }))
	mux.HandleFunc("GET /v1/networks/{network}", f.reply("GET network", func(r *http.Request) any {
		return shim.Network{NetworkSpec: shim.NetworkSpec{Name: r.PathValue("network")}, Free: f.free}
	}))
	mux.HandleFunc("PUT "+att, f.reply("PUT", f.put))
	mux.HandleFunc("GET "+att, f.reply("GET", f.get))
	mux.HandleFunc("DELETE "+att, f.reply("DELETE", f.delete))
	mux.HandleFunc("POST "+att+"/frames", f.frames)
	mux.HandleFunc("POST /v1/networks/{network}/gc", f.reply("POST gc", f.gc))
	srv := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { _ = srv.Serve(l); close(done) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return f
}

func (f *fakeShim) set(what string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[what] = err
}

func (f *fakeShim) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.atts)
}

// reply wraps a handler: planned failures first, then its answer as JSON.
func (f *fakeShim) reply(what string, do func(*http.Request) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		planned := f.fail[what]
		f.mu.Unlock()
		var out any = planned
		if errors.Is(planned, errHang) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see the client leave
			<-r.Context().Done()
			return
		}
		if planned == nil {
			f.mu.Lock()
			out = do(r)
			f.mu.Unlock()
		}
		if _, ok := out.(error); ok {
			w.WriteHeader(http.StatusTeapot)
		}
		_ = json.NewEncoder(w).Encode(out)
	}
}

func key(r *http.Request) string {
	return r.PathValue("network") + "/" + r.PathValue("id") + "/" + r.PathValue("if")
}

func (f *fakeShim) put(r *http.Request) any {
	var req shim.AttachRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return shim.Errorf(shim.CodeInvalid, "%v", err)
	}
	k := key(r)
	if _, ok := f.atts[k]; ok {
		return shim.Errorf(shim.CodeConflict, "attachment %s: exists", k)
	}
	a := shim.Attachment{
		Network: r.PathValue("network"), ContainerID: r.PathValue("id"), IfName: r.PathValue("if"),
		MAC: "02:00:00:00:00:01", MTU: 1500, MaxFrameSize: 1514, Frames: req.Frames, Sandbox: req.Sandbox,
		IPs:        []shim.IP{{Address: netip.MustParsePrefix("192.168.127.2/24"), Gateway: netip.MustParseAddr("192.168.127.1")}},
		Routes:     []shim.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), GW: netip.MustParseAddr("192.168.127.1")}},
		DNS:        shim.DNS{Nameservers: []string{"192.168.127.1"}},
		SocketPath: f.path, DgramSocketPath: f.path, Created: time.Now(),
	}
	if req.MAC != "" {
		a.MAC = req.MAC
	}
	if req.Frames == shim.FramesTap { // has no sockets
		a.SocketPath, a.DgramSocketPath = "", ""
	}
	f.atts[k], f.reqs[k] = a, req
	return a
}

func (f *fakeShim) get(r *http.Request) any {
	a, ok := f.atts[key(r)]
	if !ok {
		return shim.Errorf(shim.CodeNotFound, "attachment %s: no such attachment", key(r))
	}
	a.IPs, a.Routes = slices.Clone(a.IPs), slices.Clone(a.Routes)
	if f.edit != nil {
		f.edit(&a)
	}
	return a
}

func (f *fakeShim) delete(r *http.Request) any {
	delete(f.atts, key(r))
	return struct{}{}
}

func (f *fakeShim) gc(r *http.Request) any {
	var req shim.GCRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return shim.Errorf(shim.CodeInvalid, "%v", err)
	}
	keep := map[string]bool{}
	for _, v := range req.Valid {
		keep[r.PathValue("network")+"/"+v.ContainerID+"/"+v.IfName] = true
	}
	var res shim.GCResult
	for k, a := range f.atts {
		if strings.HasPrefix(k, r.PathValue("network")+"/") && !keep[k] {
			delete(f.atts, k)
			res.Deleted = append(res.Deleted, shim.AttachmentID{ContainerID: a.ContainerID, IfName: a.IfName})
		}
	}
	return res
}

// frames gives one end of a pair away, as the real shim does.
func (f *fakeShim) frames(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	planned, a := f.fail["POST frames"], f.atts[key(r)]
	f.mu.Unlock()
	if planned != nil {
		w.WriteHeader(http.StatusTeapot)
		_ = json.NewEncoder(w).Encode(planned)
		return
	}
	guest, host, err := handover.Pair(a.Frames, a.MaxFrameSize, false)
	if err != nil {
		panic(err)
	}
	defer guest.Close()
	defer host.Close()
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", shim.UpgradeFrames)
	_ = handover.Send(context.Background(), conn.(*net.UnixConn), handover.Message{
		Network: a.Network, ContainerID: a.ContainerID, IfName: a.IfName, Kind: a.Frames,
		MAC: a.MAC, MTU: a.MTU, MaxFrameSize: a.MaxFrameSize, IPs: []string{"192.168.127.2/24"},
	}, guest)
}
