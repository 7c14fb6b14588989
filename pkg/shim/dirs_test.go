package shim

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindDirs(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		uid  int
		want Dirs
		err  string
	}{
		{"root", nil, 0, Dirs{rootRuntimeDir, "/var/lib/vmnet"}, ""},
		{"root has no XDG", map[string]string{"XDG_RUNTIME_DIR": "/run/user/0", "XDG_STATE_HOME": "/s", "HOME": "/root"}, 0, Dirs{rootRuntimeDir, "/var/lib/vmnet"}, ""},
		{"given", map[string]string{"VMNET_RUNTIME_DIR": "/r/", "VMNET_STATE_DIR": "/s"}, 0, Dirs{"/r", "/s"}, ""},
		{"user", map[string]string{"HOME": "/home/u"}, 1000, Dirs{"/tmp/vmnet-1000", "/home/u/.local/state/vmnet"}, ""},
		{"user with XDG", map[string]string{"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/1000", "XDG_STATE_HOME": "/x"}, 1000, Dirs{"/run/user/1000/vmnet", "/x/vmnet"}, ""},
		{"relative XDG is ignored", map[string]string{"HOME": "/home/u", "XDG_RUNTIME_DIR": "run", "XDG_STATE_HOME": "x"}, 7, Dirs{"/tmp/vmnet-7", "/home/u/.local/state/vmnet"}, ""},
		{"no HOME", nil, 1000, Dirs{}, "set VMNET_STATE_DIR"},
		{"relative runtime", map[string]string{"VMNET_RUNTIME_DIR": "r"}, 0, Dirs{}, `runtime directory "r": want an absolute path`},
		{"relative state", map[string]string{"VMNET_STATE_DIR": "s"}, 0, Dirs{}, `state directory "s": want an absolute path`},
		{"too long", map[string]string{"VMNET_RUNTIME_DIR": "/" + strings.Repeat("x", 82)}, 0, Dirs{}, "83 bytes, want at most 82, since the path of a unix socket has at most 103"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := findDirs(func(k string) string { return tt.env[k] }, tt.uid)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Fatalf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestSocketPathsFit(t *testing.T) {
	d := Dirs{Runtime: "/" + strings.Repeat("r", maxRuntime-1), State: "/s"}
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("c", 255)
	for _, p := range []string{d.ShimSocket() + newSuffix, d.Socket(long, long, "eth0", FramesDgram), d.Socket("n", "c", "e", FramesStream)} {
		if len(p) > MaxSocketPath {
			t.Errorf("%d bytes, want at most %d: %s", len(p), MaxSocketPath, p)
		}
	}
	if d.Socket("a", "bc", "e", FramesDgram) == d.Socket("ab", "c", "e", FramesDgram) {
		t.Error("two attachments share a socket path")
	}
}

func TestPrepare(t *testing.T) {
	tests := []struct {
		name string
		make func(t *testing.T, d Dirs)
		err  string
	}{
		{"nothing there", func(*testing.T, Dirs) {}, ""},
		{"again", func(t *testing.T, d Dirs) { must(t, d.Prepare()) }, ""},
		{"symbolic link", func(t *testing.T, d Dirs) {
			must(t, os.MkdirAll(filepath.Dir(d.Runtime), 0o700))
			must(t, os.Symlink(t.TempDir(), d.Runtime))
		}, "is a symbolic link"},
		{"file", func(t *testing.T, d Dirs) {
			must(t, os.MkdirAll(filepath.Dir(d.Runtime), 0o700))
			must(t, os.WriteFile(d.Runtime, nil, 0o600))
		}, "is not a directory"},
		{"writable for others", func(t *testing.T, d Dirs) {
			must(t, os.MkdirAll(d.Runtime, 0o700))
			must(t, os.Chmod(d.Runtime, 0o777))
		}, "has mode 0777"},
		{"state writable for the group", func(t *testing.T, d Dirs) {
			must(t, os.MkdirAll(d.State, 0o700))
			must(t, os.Chmod(d.State, 0o770))
		}, "has mode 0770"},
		{"of another user", func(t *testing.T, d Dirs) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a directory away")
			}
			must(t, os.MkdirAll(d.Runtime, 0o700))
			must(t, os.Chown(d.Runtime, 65534, -1))
		}, "belongs to user 65534"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base := t.TempDir()
			d := Dirs{Runtime: "/tmp/" + filepath.Base(filepath.Dir(base)) + "r", State: filepath.Join(base, "a", "state")}
			t.Cleanup(func() { os.RemoveAll(d.Runtime) })
			must(t, os.RemoveAll(d.Runtime))
			tt.make(t, d)
			exe, err := os.Executable()
			must(t, err)
			could := EnsureConfig{Dirs: d, Spawn: true, Binary: exe}.CanStart() // says the same, and makes nothing
			_, there := os.Lstat(d.Sockets())
			err = d.Prepare()
			if tt.err == "" {
				must(t, errors.Join(could, err))
				if tt.name == "nothing there" && there == nil {
					t.Error("CanStart made directories")
				}
				fi, err := os.Stat(d.State)
				must(t, err)
				if fi.Mode().Perm() != 0o700 {
					t.Errorf("state directory has mode %v, want 0700", fi.Mode())
				}
				return
			}
			if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error %v, want one with %q that is fs.ErrPermission", err, tt.err)
			}
			if CodeOf(could) != CodeUnavailable || !strings.Contains(could.Error(), tt.err) {
				t.Errorf("CanStart: %v, want one with %q that says unavailable", could, tt.err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
