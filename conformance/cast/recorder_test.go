package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// parse reads a recording and returns its text; times must not go back.
func parse(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var header struct{ Version, Width, Height int }
	var text strings.Builder
	last := 0.0
	lines := bufio.NewScanner(strings.NewReader(string(data)))
	for n := 0; lines.Scan(); n++ {
		if n == 0 {
			if err := json.Unmarshal(lines.Bytes(), &header); err != nil || header.Version != 2 || header.Width < 80 || header.Height == 0 {
				t.Fatalf("header %s: %v", lines.Bytes(), err)
			}
			continue
		}
		var event []any
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil || len(event) != 3 || event[1] != "o" || event[0].(float64) < last {
			t.Fatalf("line %d: %s: %v", n+1, lines.Bytes(), err)
		}
		last = event[0].(float64)
		text.WriteString(event[2].(string))
	}
	return text.String()
}

func TestRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.cast")
	if err := run([]string{"-o", path, "-shown", "make it", "-pace", "1ms", "--", "sh", "-c", `printf 'a\n\033[1mb\033[0m %s' "$CLICOLOR_FORCE"`}); err != nil {
		t.Fatal(err)
	}
	if got, want := parse(t, path), "$ make it\r\na\r\n\x1b[1mb\x1b[0m 1\r\n"; got != want {
		t.Errorf("recorded %q, want %q", got, want)
	}
	for _, args := range [][]string{{}, {"-o", path}, {"-o", path, "--", "/none"}, {"-o", path, "--", "false"}, {"-nonsense"}} {
		if run(args) == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// TestDemoCast reads the recording that the README shows.
func TestDemoCast(t *testing.T) {
	text := parse(t, "../../docs/demo.cast")
	for _, want := range []string{"$ make demo\r\n", "as the CNI result says", "hello from outside", "all went well in"} {
		if !strings.Contains(text, want) {
			t.Errorf("docs/demo.cast does not show %q; make cast records it anew", want)
		}
	}
}
