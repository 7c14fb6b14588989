package deptest

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Every test that SECURITY.md and docs/operate.md name is there.
func TestNamedTestsExist(t *testing.T) {
	named := regexp.MustCompile("`([a-z][\\w./-]*) ((?:Test|Fuzz)\\w+)`")
	for _, page := range []string{"SECURITY.md", "docs/operate.md"} {
		text, err := os.ReadFile(filepath.Join("../..", page))
		if err != nil {
			t.Fatal(err)
		}
		found := named.FindAllStringSubmatch(string(text), -1)
		if len(found) < 5 {
			t.Errorf("%s names %d tests", page, len(found))
		}
		for _, m := range found {
			if !hasTest(t, m[1], m[2]) {
				t.Errorf("%s names %s of %s, which is not there", page, m[2], m[1])
			}
		}
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	decl := regexp.MustCompile(`(?m)^func ` + name + `\(`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if decl.Match(text) {
			return true
		}
	}
	return false
}
