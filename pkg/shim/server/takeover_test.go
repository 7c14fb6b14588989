package server_test

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/keeper"
	"github.com/vmnet-cni/vmnet/pkg/shim/server"
)

// A shelf is a keeper in this process: it keeps duplicates by name.
type shelf struct {
	mu    sync.Mutex
	files map[string]*os.File
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{files: map[string]*os.File{}}
	t.Cleanup(func() {
		for _, f := range s.files {
			f.Close()
		}
	})
	return s
}

func (s *shelf) Store(name string, c syscall.Conn) error {
	f, err := dup(c, name)
	if err != nil {
		return err
	}
	_ = s.Remove(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = f
	return nil
}

func (s *shelf) Take(string, syscall.Conn) error { return nil }
func (s *shelf) Sync() error                     { return nil }

func (s *shelf) Remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.files[name]; f != nil {
		f.Close()
		delete(s.files, name)
	}
	return nil
}

// left returns what the next shim is given.
func (s *shelf) left(t *testing.T) (list []keeper.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, f := range s.files {
		d, err := dup(f, name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, keeper.File{Name: name, File: d})
	}
	return list
}

func dup(c syscall.Conn, name string) (f *os.File, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var n int
		if n, err = syscall.Dup(int(fd)); err == nil {
			syscall.CloseOnExec(n)
			f = os.NewFile(uintptr(n), name)
		}
	})
	if cerr != nil {
		return nil, cerr
	}
	return f, err
}

// again ends a shim as SIGHUP does and starts the next one with what was kept.
func again(t *testing.T, r *running, cfg server.Config, s *shelf) *running {
	t.Helper()
	cfg.KeepSocket = true // as under systemd: sockets stay
	r.stop()
	_ = os.Remove(cfg.Dirs.ShimSocket())
	cfg.Kept = s.left(t)
	return start(t, cfg)
}

// TestKeptGuestOfDamagedState has the state file of a guest that talks damaged
// while the shim is away: the guest keeps its connection, and talks on.
func TestKeptGuestOfDamagedState(t *testing.T) {
	cfg := config(newDirs(t))
	s := newShelf(t)
	cfg.Files, cfg.KeepSocket = s, true
	r := start(t, cfg)
	a := r.attach("n", "c", shim.AttachRequest{Frames: shim.FramesStream})
	m, f, err := r.Frames(t.Context(), "n", "c", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := offered(t, m, c); got != a.IPs[0].Address.Addr().String() {
		t.Errorf("before: %s", got)
	}
	damage(t, cfg.Dirs, a, func(b []byte) []byte { return b[:len(b)/3] })
	r = again(t, r, cfg, s)
	if got := offered(t, m, c); got != a.IPs[0].Address.Addr().String() {
		t.Errorf("after: %s, want %v", got, a.IPs)
	}
	b, err := r.Attachment(t.Context(), "n", "c", "eth0")
	if err != nil || b.MAC != a.MAC || !b.Peer.Connected || b.Problem != "" {
		t.Errorf("%+v, %v, want it connected", b, err)
	}
	st, err := r.Status(t.Context())
	if err != nil || len(st.Problems) != 1 || !strings.Contains(st.Problems[0], "n/c/eth0 was made again") {
		t.Errorf("problems %q, %v", st.Problems, err)
	}
	if err := r.Detach(t.Context(), "n", "c", "eth0"); err != nil {
		t.Error(err)
	}
	if len(s.files) != 0 {
		t.Errorf("still kept: %v", s.files)
	}
}

// TestTakeoverEvents reads what a stream tells of a takeover: how many attachments
// came back, with how many descriptors, and each of them.
func TestTakeoverEvents(t *testing.T) {
	cfg := config(newDirs(t))
	s := newShelf(t)
	cfg.Files, cfg.KeepSocket = s, true
	r := start(t, cfg)
	for _, id := range []string{"a", "b"} {
		r.attach("n", id, shim.AttachRequest{})
	}
	r = again(t, r, cfg, s)
	body, err := r.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var got []shim.Event
	for dec := json.NewDecoder(body); len(got) < 3 && err == nil; {
		var e shim.Event
		if err = dec.Decode(&e); err == nil {
			got = append(got, e)
		}
	}
	if len(got) != 3 {
		t.Fatalf("%v, %v", got, err)
	}
	if d := got[0].Detail; got[0].Type != shim.EventShim || d["restored"] != "2" || d["kept"] != "4" || d["broken"] != "" {
		t.Errorf("first %+v", got[0])
	}
	for _, e := range got[1:] {
		if e.Type != shim.EventRestored || e.Network != "n" || e.Detail["kept"] != "2" {
			text, _ := json.Marshal(e)
			t.Errorf("event %s", text)
		}
	}
}

// peer waits until the peer of n/c is as wanted.
func (r *running) peer(want func(shim.Peer) bool) (p shim.Peer) {
	r.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		a, err := r.Attachment(r.t.Context(), "n", "c", "eth0")
		if err != nil {
			r.t.Fatal(err)
		}
		if p = a.Peer; want(p) {
			return p
		}
	}
	r.t.Fatalf("peer %+v for %s", p, patience)
	return p
}

// TestGuestGone has runtimes die without a DEL: the attachment says since when
// nobody is there, and stays for GC.
func TestGuestGone(t *testing.T) {
	for _, kind := range []string{shim.FramesDgram, shim.FramesStream} {
		t.Run(kind, func(t *testing.T) {
			cfg, s := config(newDirs(t)), newShelf(t)
			cfg.Files, cfg.KeepSocket = s, true
			r := start(t, cfg)
			r.attach("n", "c", shim.AttachRequest{Frames: kind})
			_, f, err := r.Frames(t.Context(), "n", "c", "eth0")
			if err != nil {
				t.Fatal(err)
			}
			from := time.Now()
			f.Close()
			p := r.peer(func(p shim.Peer) bool { return !p.GoneSince.IsZero() })
			if p.Connected || p.GoneSince.Before(from.Round(0)) {
				t.Errorf("peer %+v, want it gone since then", p)
			}
			r = again(t, r, cfg, s)
			if now := r.peer(func(shim.Peer) bool { return true }); now.Connected || !now.GoneSince.Equal(p.GoneSince) {
				t.Errorf("after a restart: peer %+v, want %+v", now, p)
			}
			if _, f, err = r.Frames(t.Context(), "n", "c", "eth0"); err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if p := r.peer(func(p shim.Peer) bool { return p.Connected }); !p.GoneSince.IsZero() {
				t.Errorf("a new one: %+v", p)
			}
			// As of a shim that was killed while it deleted an attachment.
			if err := os.WriteFile(filepath.Join(cfg.Dirs.AttachmentRecords(), "0123456789abcdef.peer"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			r = again(t, r, cfg, s) // with somebody there, and nothing of the one before
			if p := r.peer(func(p shim.Peer) bool { return p.Connected }); !p.GoneSince.IsZero() {
				t.Errorf("a new one, after a restart: %+v", p)
			}
			if gone, err := r.GC(t.Context(), "n", nil); err != nil || len(gone) != 1 {
				t.Errorf("GC: %v, %v", gone, err)
			}
			if left, err := filepath.Glob(filepath.Join(cfg.Dirs.AttachmentRecords(), "*")); err != nil || len(left) != 0 {
				t.Errorf("left: %q, %v", left, err)
			}
		})
	}
}
