package handover_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/leak"
)

func TestMain(m *testing.M) {
	// Go's poller opens its own descriptors with the first pipe or socket; they
	// stay, and no test must be charged for them.
	if r, w, err := os.Pipe(); err == nil {
		_, _ = r.Close(), w.Close()
	}
	leak.Main(m, nil)
}

// openFDs counts the descriptors of this process. /dev/fd exists on Linux and
// macOS; the one that reads the directory counts every time.
func openFDs(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// noFDLeak fails the test if it ends with more descriptors than it has now.
func noFDLeak(t testing.TB) {
	t.Helper()
	before := openFDs(t)
	t.Cleanup(func() {
		// One that is in use while it is closed goes a little later.
		for end := time.Now().Add(30 * time.Second); openFDs(t) > before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("file descriptors: %d before, %d after: %s", before, openFDs(t), listFDs())
			}
		}
	})
}

func listFDs() (s string) {
	entries, _ := os.ReadDir("/dev/fd")
	for _, e := range entries {
		target, _ := os.Readlink("/dev/fd/" + e.Name())
		s += fmt.Sprintf("%s=%s ", e.Name(), target)
	}
	return s
}
