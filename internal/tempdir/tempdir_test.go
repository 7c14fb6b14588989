package tempdir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMake(t *testing.T) {
	closed, err := os.MkdirTemp("/tmp", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(closed) })
	for _, base := range []string{closed, "/tmp/" + strings.Repeat("x", maxBase), "/tmp"} {
		t.Setenv("TMPDIR", base)
		dir, err := Make("t")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if filepath.Dir(dir) != "/tmp" {
			t.Errorf("with TMPDIR %s: %s", base, dir)
		}
	}
}
