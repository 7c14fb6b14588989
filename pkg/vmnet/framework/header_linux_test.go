package framework_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// declaration finds the name and the release in a line of libvmnet's headers, as
// they are documented in its block.h.
var declaration = regexp.MustCompile(`^(?:extern )?.*?\b([A-Za-z_0-9]+)(?:\[\])?(?:\([^;]*\))?; /\* macos ([0-9.]+)(.*) \*/$`)

// TestHeaders compares the facts with the headers of conformance/libvmnet, which
// were written from them independently: name by name, and since when.
func TestHeaders(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "conformance", "libvmnet", "include")
	used, unused := facts(t)
	seen := make(map[string]bool)
	for _, file := range []string{"block.h", "dispatch.h", "xpc.h", "vmnet/vmnet.h"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			m := declaration.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil || strings.HasPrefix(line, "typedef") || strings.HasPrefix(line, "#") || strings.Contains(line, "(^") && strings.HasPrefix(line, "typedef") {
				continue
			}
			name, since, rest := m[1], m[2], m[3]
			seen[name] = true
			f, ok := used[name]
			switch {
			case ok && f.Since != since:
				t.Errorf("%s: %s has it since %s, the facts since %s", file, name, since, f.Since)
			case ok, unused[name], strings.Contains(rest, "extra"):
			default:
				t.Errorf("%s: %s is not among the facts", file, name)
			}
		}
	}
	for name := range used {
		if !seen[name] && name != "free" { // the C library's
			t.Errorf("%s is in no header", name)
		}
	}
}
