package require

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

// fakeT records how a test ended, as testing.T would.
type fakeT struct {
	testing.TB
	end, text string
}

func (f *fakeT) Helper() {}

func (f *fakeT) Fatalf(format string, args ...any) { f.finish("fail", format, args) }
func (f *fakeT) Skipf(format string, args ...any)  { f.finish("skip", format, args) }

func (f *fakeT) finish(end, format string, args []any) {
	f.end, f.text = end, fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// outcome runs fn as the body of a test and tells how it ended.
func outcome(fn func(t testing.TB)) *fakeT {
	f := &fakeT{end: "pass"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(f)
	}()
	<-done
	return f
}

func TestOutcomes(t *testing.T) {
	tool := func(t testing.TB) { Tool(t, "no-such-program-anywhere") }
	probe := func(err error) func(testing.TB) {
		return func(t testing.TB) { missingFor(t, "netns", "needs namespaces", err) }
	}
	for _, c := range []struct {
		name, env string
		fn        func(testing.TB)
		end, text string
	}{
		{"missing tool skips", "", tool, "skip", "not in PATH"},
		{"another need is required", "root,qemu", tool, "skip", "not in PATH"},
		{"required tool fails", "root, no-such-program-anywhere", tool, "fail", "VMNET_REQUIRE requires no-such"},
		{"tool that is there", "go", func(t testing.TB) { Tool(t, "go") }, "pass", ""},
		{"refusal skips", "", probe(fs.ErrPermission), "skip", "permission denied"},
		{"unsupported skips", "", probe(errors.ErrUnsupported), "skip", "unsupported"},
		{"refusal of a required need fails", "netns", probe(fs.ErrPermission), "fail", "requires netns"},
		{"any other error is a fault", "", probe(errors.New("boom")), "fail", "boom"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(Env, c.env)
			got := outcome(c.fn)
			if got.end != c.end || !strings.Contains(got.text, c.text) {
				t.Errorf("ended with %s %q, want %s with %q", got.end, got.text, c.end, c.text)
			}
		})
	}
}

func TestRoot(t *testing.T) {
	t.Setenv(Env, "")
	root, not := outcome(Root).end, outcome(NotRoot).end
	if isRoot := os.Geteuid() == 0; (root == "pass") != isRoot || (not == "pass") == isRoot {
		t.Errorf("as user %d: Root %s, NotRoot %s", os.Geteuid(), root, not)
	}
}

// TestProbes checks that the probes give an answer and not a fault.
func TestProbes(t *testing.T) {
	t.Setenv(Env, "")
	for name, fn := range map[string]func(testing.TB){"NetNS": NetNS, "UserNS": UserNS, "Linux": Linux} {
		if got := outcome(fn); got.end == "fail" {
			t.Errorf("%s: %s", name, got.text)
		} else {
			t.Logf("%s: %s %s", name, got.end, got.text)
		}
	}
}
