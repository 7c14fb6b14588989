package framework_test

import (
	"bufio"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

// A fact is a line of testdata/symbols.txt.
type fact struct {
	Since, Library string
	Key            bool
}

// facts reads what the driver looks up, and what it does not.
func facts(t *testing.T) (used map[string]fact, unused map[string]bool) {
	t.Helper()
	f, err := os.Open("testdata/symbols.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	used, unused = make(map[string]fact), make(map[string]bool)
	for s := bufio.NewScanner(f); s.Scan(); {
		line, reason, _ := strings.Cut(s.Text(), "#")
		w := strings.Fields(strings.TrimPrefix(line, "+"))
		switch {
		case len(w) == 0:
		case w[0] == "-" && len(w) == 2 && strings.TrimSpace(reason) != "":
			unused[w[1]] = true
		case len(w) == 3, len(w) == 4 && w[3] == "key":
			used[w[0]] = fact{Since: w[1], Library: w[2], Key: len(w) == 4}
		default:
			t.Fatalf("line %q: want name, version, library, or a reason", s.Text())
		}
	}
	return used, unused
}

// TestSymbols compares every symbol that the driver looks up, which is the same
// list on macOS, with what Apple's headers give (testdata/symbols.txt): none missing, none unknown.
func TestSymbols(t *testing.T) {
	want, _ := facts(t)
	got := make(map[string]fact)
	for _, s := range framework.Symbols() {
		if _, twice := got[s.Name]; twice {
			t.Errorf("%s is looked up twice", s.Name)
		}
		got[s.Name] = fact{Since: s.Since, Library: s.Library, Key: s.Variable}
		if s.Required && s.Since != "10.10" {
			t.Errorf("%s is required, but macOS has it only since %s", s.Name, s.Since)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("symbols (-facts +driver):\n%s", diff)
	}
}
