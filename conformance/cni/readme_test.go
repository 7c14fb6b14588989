package cni_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmnet-cni/vmnet/conformance/cni"
)

// between returns the part of the README between a pair of comments.
func between(t *testing.T, readme, name string) string {
	t.Helper()
	_, rest, ok := strings.Cut(readme, "<!-- "+name+" -->\n")
	part, _, ok2 := strings.Cut(rest, "<!-- /"+name+" -->")
	if !ok || !ok2 {
		t.Fatalf("README.md has no part %s", name)
	}
	return part
}

// TestREADMEChecks: the list in the README is that of the code. With UPDATE_GOLDEN
// set, it is written anew.
func TestREADMEChecks(t *testing.T) {
	raw, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	got := between(t, string(raw), "checks")
	var want strings.Builder
	want.WriteString("| ID | level | grade | requirement | where it is written |\n|---|---|---|---|---|\n")
	for _, c := range cni.Checks() {
		fmt.Fprintf(&want, "| %s | %s | %s | %s | %s |\n", c.ID, c.Level, c.Grade, c.Sentence, c.Source)
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		writeFile(t, "README.md", []byte(strings.Replace(string(raw), "<!-- checks -->\n"+got, "<!-- checks -->\n"+want.String(), 1)))
		return
	}
	if diff := cmp.Diff(strings.Split(want.String(), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("README.md differs (- code, + README):\n%s", diff)
	}
}

// TestREADMEFindings: what the README says of the reference plugins is what the
// golden files have.
func TestREADMEFindings(t *testing.T) {
	raw, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	columns := []string{"bridge+host-local", "bridge", "ptp+host-local", "loopback", "host-local"}
	said := map[string][]string{}
	for line := range strings.Lines(between(t, string(raw), "findings")) {
		cells := strings.Split(line, "|")
		for i, plugin := range columns {
			if strings.TrimSpace(cells[2+i]) == "x" {
				said[plugin] = append(said[plugin], strings.TrimSpace(cells[1]))
			}
		}
	}
	for _, plugin := range columns {
		text, err := os.ReadFile(filepath.Join("testdata", "golden", plugin+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for line := range strings.Lines(string(text)) {
			if id, rest, _ := strings.Cut(line, " "); strings.HasPrefix(rest, "fail") {
				found = append(found, id)
			}
		}
		slices.Sort(found)
		slices.Sort(said[plugin])
		if diff := cmp.Diff(found, said[plugin]); diff != "" {
			t.Errorf("%s (- golden, + README):\n%s", plugin, diff)
		}
	}
}
