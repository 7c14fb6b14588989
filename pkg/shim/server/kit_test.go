package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmnet-cni/vmnet/internal/tempdir"
	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/boltstore"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/server"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// newDirs returns short directories that end with the test. Others may pass
// through them, so that a test can call as another user.
func newDirs(t testing.TB) shim.Dirs {
	t.Helper()
	base, err := tempdir.Make("vs")
	if err == nil {
		err = os.Chmod(base, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	d := shim.Dirs{Runtime: filepath.Join(base, "r"), State: filepath.Join(base, "s")}
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	return d
}

// A running is a shim in this process.
type running struct {
	*shim.Client
	t      testing.TB
	dirs   shim.Dirs
	cancel context.CancelFunc
	done   chan error
}

// config returns the usual configuration without leases.
func config(d shim.Dirs) server.Config {
	log := logrus.New()
	log.SetOutput(io.Discard)
	if os.Getenv("SERVER_TEST_LOG") != "" {
		log.SetOutput(os.Stderr)
		log.SetLevel(logrus.DebugLevel)
	}
	return server.Config{
		Dirs: d, Log: log, Version: "test",
		Drivers: map[string]vmnet.Driver{shim.DriverNetstack: netstack.New(netstack.Config{})},
	}
}

// serve runs a shim until ctx is done.
func serve(ctx context.Context, cfg server.Config, l *net.UnixListener) (err error) {
	if cfg.Leases == nil {
		store, err := boltstore.Open(filepath.Join(cfg.Dirs.State, "leases.db"), boltstore.Config{NoSync: true})
		if err != nil {
			return errors.Join(err, l.Close())
		}
		cfg.Leases = ipam.New(store, ipam.Config{})
		defer func() { err = errors.Join(err, cfg.Leases.Close()) }()
	}
	s, err := server.New(ctx, cfg)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return s.Serve(ctx, l)
}

// start runs a shim until the test ends or stop is called.
func start(t testing.TB, cfg server.Config) *running {
	t.Helper()
	l, err := shim.Listen(t.Context(), cfg.Dirs.ShimSocket())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Client: client(t, cfg.Dirs), t: t, dirs: cfg.Dirs, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- serve(ctx, cfg, l) }()
	t.Cleanup(r.stop)
	if _, err := r.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// client returns a client, with the patience of tests, of the shim that listens or
// is being started in d.
func client(t testing.TB, d shim.Dirs) *shim.Client {
	t.Helper()
	c, err := shim.Ensure(t.Context(), shim.EnsureConfig{Dirs: d, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// stop ends the shim as SIGTERM does, and waits.
func (r *running) stop() {
	r.cancel()
	r.Close()
	if r.done == nil {
		return
	}
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Errorf("serve: %v", err)
		}
	case <-time.After(2 * patience):
		r.t.Fatal("serve did not end")
	}
	r.done = nil
}

// attach makes an attachment of network n that must come to be.
func (r *running) attach(n, id string, req shim.AttachRequest) shim.Attachment {
	r.t.Helper()
	a, err := r.Attach(r.t.Context(), n, id, "eth0", req)
	if err != nil {
		r.t.Fatalf("attach %s/%s: %v", n, id, err)
	}
	return a
}

// An answer is what the shim said to a raw request.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request as it is.
func (r *running) do(method, path, body string) answer {
	r.t.Helper()
	a, err := do(r.dirs.ShimSocket(), method, path, body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func do(socket, method, path, body string) (answer, error) {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest(method, "http://shim"+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(data)}, err
}

// left is what a request could leave behind.
type left struct {
	attachments, networks int
	files                 string
	fds, goroutines       int
}

// census counts. Networks that were chosen are kept by design and not counted.
func (r *running) census() left {
	r.t.Helper()
	s, err := r.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	r.Close() // its connection would count
	var l left
	l.attachments, l.networks = s.Attachments, s.Networks
	var files []string
	for _, root := range []string{r.dirs.Runtime, r.dirs.State} {
		err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
			if err == nil && filepath.Base(filepath.Dir(p)) != "networks" {
				files = append(files, p)
			}
			return err
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	l.files = strings.Join(files, "\n")
	l.goroutines = runtime.NumGoroutine()
	runtime.GC() // closes what pools of package net and os hold
	if fds, err := os.ReadDir("/dev/fd"); err == nil {
		l.fds = len(fds)
	}
	return l
}

// nothingLeft compares with an earlier census, with patience for what ends by
// itself.
func (r *running) nothingLeft(before left) {
	r.t.Helper()
	var now left
	eventually(r.t, func() bool {
		now = r.census()
		return now.attachments == before.attachments && now.networks == before.networks && now.files == before.files &&
			now.fds <= before.fds && now.goroutines <= before.goroutines
	}, func() string { return fmt.Sprintf("left behind:\nbefore %+v\nnow    %+v", before, now) })
}

// eventually polls until ok is true.
func eventually(t testing.TB, ok func() bool, explain func() string) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(explain())
		}
	}
}

// A faulty driver does what a test says before it works.
type faulty struct {
	vmnet.Driver
	open, start func(context.Context) error // nil: nothing
}

func (f *faulty) Open(ctx context.Context, cfg vmnet.NetworkConfig) (vmnet.Network, error) {
	if f.open != nil {
		if err := f.open(ctx); err != nil {
			return nil, err
		}
	}
	n, err := f.Driver.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &faultyNetwork{n, f}, nil
}

type faultyNetwork struct {
	vmnet.Network
	driver *faulty
}

func (n *faultyNetwork) Start(ctx context.Context, cfg vmnet.Config) (vmnet.Device, error) {
	if n.driver.start != nil {
		if err := n.driver.start(ctx); err != nil {
			return nil, err
		}
	}
	return n.Network.Start(ctx, cfg)
}

// withFault returns the usual configuration with a faulty netstack.
func withFault(d shim.Dirs, f *faulty) server.Config {
	cfg := config(d)
	f.Driver = cfg.Drivers[shim.DriverNetstack]
	cfg.Drivers[shim.DriverNetstack] = f
	return cfg
}
