package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// garbage says what is no request, on many connections.
func garbage(path string) error {
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for _, text := range [][]byte{
		noise, []byte("\x00\x00\x00\x00"), []byte("PUT / HTTP/1.1\r\n"), []byte("GET /v1/status HTTP/9.9\r\n\r\n"),
		[]byte("PUT /v1/networks/n/attachments/c/eth0 HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
		[]byte("PUT /v1/networks/n/attachments/c/eth0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"),
		append([]byte("GET /v1/status HTTP/1.1\r\nHost: x\r\nX: "), bytes.Repeat([]byte("x"), 1<<20)...),
		append([]byte("PUT /v1/networks/n/attachments/c/eth0 HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"), bytes.Repeat([]byte("["), 60000)...),
		[]byte("POST /v1/networks/n/attachments/c/eth0/frames HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: vmnet-give\r\n\r\n{}"),
	} {
		c, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = c.Write(text) // refused in the middle is fine
		_, _ = c.Read(make([]byte, 4096))
		_ = c.Close()
	}
	return nil
}

// TestStrangerCannotCrash has a member of the group send what is no request, and
// requests that are wrong: the shim goes on, and has made nothing.
func TestStrangerCannotCrash(t *testing.T) {
	cfg := config(newDirs(t))
	cfg.OtherUsers = true
	who := newStranger(t, cfg.Dirs)
	r := start(t, cfg)
	if err := os.Chmod(cfg.Dirs.ShimSocket(), 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := who.command("garbage", cfg.Dirs.ShimSocket()).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for _, body := range []string{"", "{", "[]", `{"mac":{}}`, `{"network":{"mtu":1e99}}`, strings.Repeat(`{"network":`, 5000), `{"hostname":"` + strings.Repeat("x", 70_000) + `"}`} {
		if got := r.doAs(nobody, who.exe, "PUT", "/v1/networks/n/attachments/c/eth0", body); !strings.HasPrefix(got, "4") {
			t.Errorf("%.40s: %s, want it refused", body, got)
		}
	}
	if s, err := r.Status(t.Context()); err != nil || s.Attachments != 0 || s.Networks != 0 {
		t.Errorf("then: %+v, %v", s, err)
	}
}

// TestStrangerCannotPrepare has another user make the shim's directories, or links in
// their place, before the shim does: it refuses to use them.
func TestStrangerCannotPrepare(t *testing.T) {
	dirs := newDirs(t)
	who := newStranger(t, dirs)
	public := filepath.Join(filepath.Dir(dirs.State), "tmp")
	if err := errors.Join(os.Mkdir(public, 0o777), os.Chmod(public, os.ModeSticky|0o777)); err != nil {
		t.Fatal(err)
	}
	for i, args := range [][]string{{"mkdir"}, {"symlink", dirs.State}, {"symlink", "/nowhere"}} {
		for _, which := range []string{"runtime", "state"} {
			path := filepath.Join(public, fmt.Sprint(which, i))
			if out, err := who.command(append([]string{args[0], path}, args[1:]...)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			d := shim.Dirs{Runtime: filepath.Join(public, "r"), State: filepath.Join(public, "s")}
			if which == "runtime" {
				d.Runtime = path
			} else {
				d.State = path
			}
			if err := d.Prepare(); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s, %s: %v, want a refusal", args[0], which, err)
			}
		}
	}
}

// What a client names as a path is never opened, connected to or followed: neither
// for a member of the group nor for the shim's own user.
func TestPathsOfClientsAreNotOpened(t *testing.T) {
	cfg := config(newDirs(t))
	cfg.OtherUsers = true
	who := newStranger(t, cfg.Dirs)
	r := start(t, cfg)
	if err := os.Chmod(cfg.Dirs.ShimSocket(), 0o666); err != nil {
		t.Fatal(err)
	}
	trap := filepath.Join(filepath.Dir(cfg.Dirs.State), "trap")
	l, err := net.Listen("unix", trap)
	if err != nil {
		t.Fatal(err)
	}
	touched := make(chan struct{})
	go func() {
		defer close(touched)
		if c, err := l.Accept(); err == nil {
			c.Close()
			t.Error("the shim connected to a client's path")
		}
	}()
	r.attach("n", "c", shim.AttachRequest{Sandbox: trap})
	if got := r.doAs(nobody, who.exe, "PUT", "/v1/networks/theirs/attachments/c/eth0", fmt.Sprintf(`{"sandbox":%q}`, trap)); !strings.HasPrefix(got, "201") {
		t.Errorf("as another user: %s", got)
	}
	for _, path := range []string{"/v1/networks/n/attachments/..%2f..%2fx/eth0", "/v1/networks/..%2fn/attachments/c/eth0", "/v1/networks/n/attachments/c/..%2feth0"} {
		if got := r.do("PUT", path, "{}"); got.status != 400 {
			t.Errorf("%s: %d %s, want 400", path, got.status, got.body)
		}
		if got := r.doAs(nobody, who.exe, "PUT", path, "{}"); !strings.HasPrefix(got, "400") {
			t.Errorf("%s as another user: %s, want 400", path, got)
		}
	}
	if err := r.Detach(t.Context(), "theirs", "c", "eth0"); err != nil {
		t.Error(err)
	}
	r.stop()
	l.Close()
	<-touched
}
