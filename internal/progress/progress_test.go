package progress_test

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/internal/progress"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

// A screen keeps what was written.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// until waits for a text on the screen; N in it is any number, for a machine may
// stall for seconds.
func (s *screen) until(t *testing.T, want string) {
	t.Helper()
	re := regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(want), "N", "[0-9]+"))
	for end := time.Now().Add(30 * time.Second); !re.MatchString(s.text()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %q in %q", want, s.text())
		}
	}
}

// quick is a line of a test, on a terminal of 40 columns.
func quick(env ...string) progress.Config {
	return progress.Config{
		Terminal: 40, After: time.Millisecond, Every: time.Millisecond,
		Env: func(name string) string {
			for _, e := range env {
				if v, ok := strings.CutPrefix(e, name+"="); ok {
					return v
				}
			}
			return ""
		},
	}
}

func TestLine(t *testing.T) {
	var s screen
	l := progress.Start(&s, "waiting for the shim", quick())
	s.until(t, "\r\x1b[K\x1b[2mwaiting for the shim … N s\x1b[0m")
	l.Say(strings.Repeat("x", 100))
	s.until(t, strings.Repeat("x", 39)+"\x1b[0m")
	if strings.Contains(s.text(), strings.Repeat("x", 40)) {
		t.Errorf("a line longer than the terminal is wide: %q", s.text())
	}
	l.Tell("almost there")
	s.until(t, "almost there … N s")
	out := l.Over(&s)
	if _, err := io.WriteString(out, "a result\n"); err != nil {
		t.Fatal(err)
	}
	s.until(t, "\x1b[Ka result\n")
	l.Stop()
	l.Stop()
	if !strings.HasSuffix(s.text(), "\r\x1b[K") && !strings.HasSuffix(s.text(), "a result\n") {
		t.Errorf("the line is left: %q", s.text())
	}
}

// TestPlain has no colour where NO_COLOR asks for none.
func TestPlain(t *testing.T) {
	var s screen
	l := progress.Start(&s, "waiting", quick("NO_COLOR=1"))
	s.until(t, "\r\x1b[Kwaiting … N s")
	l.Stop()
	if strings.Contains(s.text(), "\x1b[2m") {
		t.Errorf("%q has a colour", s.text())
	}
}

// TestNothing has nobody to tell: no terminal, a dumb one, output for programs, or
// something that takes no time.
func TestNothing(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	quiet := quick()
	quiet.Quiet = true
	unseen := quick()
	unseen.Terminal = 0
	patient := quick()
	patient.After = time.Hour
	for name, cfg := range map[string]progress.Config{"quiet": quiet, "no terminal": unseen, "dumb": quick("TERM=dumb"), "short": patient} {
		var s screen
		l := progress.Start(&s, "waiting", cfg)
		if _, err := io.WriteString(l.Over(&s), "x"); err != nil {
			t.Fatal(err)
		}
		l.Say("more")
		l.Tell("more")
		l.Stop()
		if s.text() != "x" {
			t.Errorf("%s: %q", name, s.text())
		}
	}
	if l := progress.Start(file, "waiting", progress.Config{}); l != nil {
		t.Error("a file is no terminal")
	}
}
