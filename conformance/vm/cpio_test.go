package vm

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
)

// TestCPIO has busybox list what was written.
func TestCPIO(t *testing.T) {
	busybox := require.Tool(t, "busybox")
	var b bytes.Buffer
	c := &cpioWriter{w: &b}
	c.dir("bin")
	c.char("bin/console", 5, 1)
	c.file("bin/x", 0o755, []byte("12345"))
	c.file("bin/empty", 0o600, nil)
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	if b.Len()%4 != 0 {
		t.Errorf("%d bytes, want a multiple of 4", b.Len())
	}
	cmd := exec.Command(busybox, "cpio", "-tv")
	cmd.Stdin = bytes.NewReader(b.Bytes())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"drwxr-xr-x", "crw------- 0/0 ", "-rwxr-xr-x 0/0         5 ", "bin/x", "-rw-------", "bin/empty"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in the list:\n%s", want, out)
		}
	}
}

type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestCPIOError(t *testing.T) {
	for left := range 6 {
		c := &cpioWriter{w: &failing{left}}
		c.dir("bin")
		c.file("bin/x", 0o755, []byte("12345"))
		if err := c.close(); err == nil {
			t.Errorf("a writer that fails after %d writes: no error", left)
		}
	}
}

func TestLoadOrder(t *testing.T) {
	k, err := FindKernel()
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	order, err := loadOrder(k)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for n, m := range order {
		at[m.name] = n
		deps, err := moduleDeps(m.data)
		if err != nil {
			t.Fatal(err)
		}
		for _, dep := range deps {
			if p, ok := at[dep]; ok && p >= n {
				t.Errorf("%s comes before %s, which it needs", m.name, dep)
			}
		}
	}
	t.Logf("%d modules", len(order))
}
