package handover_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/handover"
)

func TestDialDgram(t *testing.T) {
	noFDLeak(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "frames")
	shim, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer shim.Close()
	for _, local := range []string{"", filepath.Join(dir, "guest")} {
		dial := func() (*os.File, error) { return handover.DialFrom(local, path, handover.KindDgram) }
		if local == "" {
			dial = func() (*os.File, error) { return handover.Dial(path, handover.KindDgram) }
		}
		f, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		_ = shim.SetDeadline(time.Now().Add(time.Minute))
		n, from, err := shim.ReadFromUnix(buf)
		if err != nil || n != 60 {
			t.Fatalf("read %d bytes, %v", n, err)
		}
		if _, err := shim.WriteToUnix(buf[:42], from); err != nil {
			t.Fatalf("answer to %q: %v", from, err)
		}
		if n, err := f.Read(buf); err != nil || n != 42 {
			t.Errorf("guest read %d bytes, %v", n, err)
		}
		f.Close()
		if local != "" {
			if err := os.Remove(local); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestDialStream(t *testing.T) {
	noFDLeak(t)
	path := filepath.Join(t.TempDir(), "frames")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := handover.Dial(path, handover.KindStream)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if kind, err := handover.Kind(f); err != nil || kind != handover.KindStream {
		t.Errorf("Kind = %q, %v", kind, err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestDialFails(t *testing.T) {
	noFDLeak(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "none")
	local := filepath.Join(dir, "local")
	if _, err := handover.DialFrom(local, path, handover.KindDgram); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v: want os.ErrNotExist", err)
	}
	if _, err := os.Lstat(local); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("local file is left: %v", err)
	}
	for _, tt := range []struct{ local, path, kind, want string }{
		{"", path, "tap", `kind "tap"`},
		{"", filepath.Join(dir, strings.Repeat("p", 120)), "stream", "at most 103"},
		{filepath.Join(dir, strings.Repeat("l", 120)), path, "dgram", "at most 103"},
	} {
		if _, err := handover.DialFrom(tt.local, tt.path, tt.kind); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("DialFrom(%v): %v: want %q", tt, err, tt.want)
		}
	}
}
