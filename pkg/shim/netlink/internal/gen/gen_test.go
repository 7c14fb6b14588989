package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

// TestGenerated holds the files and the page to what upstream's package is: a new
// name upstream, a function that is written for macOS, or an edit by hand fails it.
func TestGenerated(t *testing.T) {
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join("..", "..")
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what internal/gen writes (%v): run go generate ./pkg/shim/netlink", name, err)
		}
	}
	here, err := filepath.Glob(filepath.Join(root, "gen_*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range here {
		if files[filepath.Base(path)] == nil {
			t.Errorf("%s: internal/gen does not write it any more", path)
		}
	}
}

// TestNames type-checks our package as it is built for each system: every exported
// name of upstream must be there, but for those that the page calls absent; and
// whatever the page says works on macOS must be written in a file of darwin's.
func TestNames(t *testing.T) {
	linux, err := load(upstream, "linux")
	if err != nil {
		t.Fatal(err)
	}
	other, err := load(upstream, "darwin")
	if err != nil {
		t.Fatal(err)
	}
	g := &generator{linux: linux, other: other, files: map[string][]byte{}}
	g.classify()
	for _, goos := range []string{"linux", "darwin"} {
		ours, err := load(ours, goos)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range linux.names(func(object) bool { return true }) {
			gone := g.state[name] == absent && goos != "linux" && isFunc(linux.lookup(name))
			have := ours.lookup(name)
			if (have == nil) != gone {
				t.Errorf("%s: %s is there: %v, want %v", goos, name, have != nil, !gone)
			}
			if have == nil || !isFunc(have) {
				continue
			}
			if file := ours.file(have); goos == "darwin" && strings.HasSuffix(file, "_darwin.go") != (g.state[name] == onDarwin) {
				t.Errorf("darwin: %s is in %s, and the page says otherwise", name, file)
			}
			if ours.stub[name] {
				t.Errorf("%s: %s only returns ErrNotImplemented", goos, name)
			}
		}
	}
}
