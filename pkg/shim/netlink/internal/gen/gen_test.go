package main

import (
	"bytes"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

// read reads upstream's package once, which takes some seconds.
var read = sync.OnceValues(func() ([]*view, error) {
	linux, err := load(upstream, "linux")
	if err != nil {
		return nil, err
	}
	other, err := load(upstream, "darwin")
	return []*view{linux, other}, err
})

// upstreams returns upstream as it is for Linux and for darwin.
func upstreams(t *testing.T) (linux, other *view) {
	t.Helper()
	v, err := read()
	if err != nil {
		t.Fatal(err)
	}
	return v[0], v[1]
}

// TestGenerated holds the files and the page to what upstream's package is: a new
// name upstream, a function that is written for macOS, or an edit by hand fails it.
func TestGenerated(t *testing.T) {
	files, err := write(upstreams(t))
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
// name of upstream must be there, but for those that the page calls absent, with the
// same fields and methods, and the value of a constant; and whatever the page says
// works on macOS must be written in a file of darwin's.
func TestNames(t *testing.T) {
	linux, other := upstreams(t)
	g := &generator{linux: linux, other: other, files: map[string][]byte{}}
	g.classify()
	for _, goos := range []string{"linux", "darwin"} {
		ours, err := load(ours, goos)
		if err != nil {
			t.Fatal(err)
		}
		var missing []string
		for _, name := range linux.names(func(object) bool { return true }) {
			gone := g.state[name] == absent && goos != "linux" && isFunc(linux.lookup(name))
			have := ours.lookup(name)
			if (have == nil) != gone {
				t.Errorf("%s: %s is there: %v, want %v", goos, name, have != nil, !gone)
			}
			if have == nil {
				continue
			}
			missing = append(missing, compare(t, goos, linux.lookup(name), have)...)
			if !isFunc(have) {
				continue
			}
			if file := ours.file(have); goos == "darwin" && strings.HasSuffix(file, "_darwin.go") != (g.state[name] == onDarwin) {
				t.Errorf("darwin: %s is in %s, and the page says otherwise", name, file)
			}
			if ours.stub[name] {
				t.Errorf("%s: %s only returns ErrNotImplemented", goos, name)
			}
		}
		if want := g.lacking(); goos == "darwin" && !slices.Equal(missing, want) {
			t.Errorf("methods that are on Linux alone: %q, the page has %q", missing, want)
		}
	}
}

// differs are constants and variables that differ off Linux, and say so.
var differs = []string{"FAMILY_V6", "ErrDumpInterrupted"}

// compare compares what users of a name see of it, and returns the methods that are
// missing.
func compare(t *testing.T, goos string, theirs, ours object) (missing []string) {
	t.Helper()
	if slices.Contains(differs, theirs.Name()) && goos != "linux" {
		return nil
	}
	same := func(what, want, have string) {
		if want != have {
			t.Errorf("%s: %s is %q, want %q", goos, what, have, want)
		}
	}
	if !isType(theirs) {
		same(theirs.Name(), written(theirs.Type()), written(ours.Type()))
		if c, ok := theirs.(*types.Const); ok {
			same(theirs.Name(), c.Val().ExactString(), ours.(*types.Const).Val().ExactString())
		}
		return nil
	}
	wants, have := methods(theirs.Type()), methods(ours.Type())
	for _, m := range sorted(wants) {
		if have[m] == "" {
			missing = append(missing, theirs.Name()+"."+m)
			continue
		}
		same(theirs.Name()+"."+m, wants[m], have[m])
	}
	wants, have = fields(theirs.Type()), fields(ours.Type())
	for _, f := range sorted(wants) {
		same(theirs.Name()+"."+f, wants[f], have[f])
	}
	return missing
}
