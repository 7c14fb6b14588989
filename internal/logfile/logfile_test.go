package logfile_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/internal/logfile"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

const max = 64 << 10

// open opens a log as launchd and shells do.
func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// A log stays below its bound whoever writes to it, ends with the newest lines, and
// the descriptors of others go on.
func TestBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, bytes.Repeat([]byte("from before\n"), max/6), 0o600); err != nil { // twice as long
		t.Fatal(err)
	}
	theirs := open(t, path)
	w := logfile.Bound(open(t, path), max)
	cuts := 0
	for i := range 20000 {
		fmt.Fprintf(w, "line %d\n", i)
		if i%100 == 0 {
			fmt.Fprintf(theirs, "theirs %d\n", i)
		}
		fi, err := os.Stat(path)
		if err != nil || fi.Size() > max+max/8 {
			t.Fatalf("line %d: %d bytes, %v", i, fi.Size(), err)
		}
		if fi.Size() < max/3 {
			cuts++
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if first := lines[0]; !strings.HasPrefix(first, "log cut: ") || !strings.HasSuffix(first, " bytes before this line are gone") {
		t.Errorf("first line %q", first)
	}
	last := -1
	for _, l := range lines[1:] {
		var n int
		if _, err := fmt.Sscanf(l, "line %d", &n); err == nil {
			if last >= 0 && n != last+1 {
				t.Errorf("line %d after %d", n, last)
			}
			last = n
		} else if _, err := fmt.Sscanf(l, "theirs %d", &n); err != nil {
			t.Errorf("line %q", l)
		}
	}
	if last != 19999 || cuts == 0 || !strings.Contains(string(data), "theirs 19900\n") {
		t.Errorf("the last line is %d, after %d cuts", last, cuts)
	}
}

// What is no log of its own is left alone.
func TestAlone(t *testing.T) {
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "not appended to"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	unbound := open(t, filepath.Join(dir, "unbound"))
	for name, f := range map[string]*os.File{"not appended to": file, "pipe": w, "unbound": unbound} {
		n := int64(max)
		if name == "unbound" {
			n = 0
		}
		if got := logfile.Bound(f, n); got != f {
			t.Errorf("%s: bound", name)
		}
	}
}

// A log that was renamed is still cut, and what was put in its place is left alone.
func TestMoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := logfile.Bound(open(t, path), max)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("x"), 99)
	for range 2 * max / 100 {
		if _, err := w.Write(append(line, '\n')); err != nil {
			t.Fatal(err)
		}
	}
	if fi, err := os.Stat(path + ".1"); err != nil || fi.Size() > max+max/8 {
		t.Errorf("%d bytes, %v", fi.Size(), err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "another\n" {
		t.Errorf("the other file: %q, %v", data, err)
	}
}
