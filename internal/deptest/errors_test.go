package deptest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// makers are the functions that make errors, and which argument is the text.
var makers = map[string]int{
	"errors.New": 0, "fmt.Errorf": 0, "shim.Errorf": 1, "shim.Invalidf": 2, "Errorf": 1, "Invalidf": 2, "invalid": 0,
}

// named are words with a capital, and beginnings that are names themselves.
var named = regexp.MustCompile(`^([A-Z][A-Z0-9_]+|IPv[46]|MACs?|DNS|DHCP(v6)?|TCP|UDP|RootlessKit|QEMU|GSO|UUID|pcapng|HTTP)\b`)

// TestErrorTexts reads every text of an error: operation, object, cause, in lower
// case, on one line, without a full stop and without words that say again that it is
// an error.
func TestErrorTexts(t *testing.T) {
	files := token.NewFileSet()
	n := 0
	for _, dir := range []string{"cmd", "plugins", "pkg", "internal", "conformance/guest"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(node ast.Node) bool {
				c, ok := node.(*ast.CallExpr)
				if !ok {
					return true
				}
				at, ok := makers[name(c.Fun)]
				if !ok || at >= len(c.Args) {
					return true
				}
				if s := text(c.Args[at]); s != "" {
					n++
					for _, fault := range errorFaults(name(c.Fun), s) {
						t.Errorf("%s: %q: %s", files.Position(c.Args[at].Pos()), s, fault)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n < 500 {
		t.Errorf("%d texts: want more", n)
	}
}

// errorFaults returns what is wrong with the text of an error.
func errorFaults(maker, s string) (list []string) {
	switch {
	case strings.ContainsAny(s, "\n"):
		list = append(list, "want one line")
	case strings.HasSuffix(s, ".") && !strings.HasSuffix(s, "…"), strings.HasSuffix(s, "!"):
		list = append(list, "want no full stop")
	case s[0] >= 'A' && s[0] <= 'Z' && !named.MatchString(s):
		list = append(list, "want lower case")
	}
	if m := regexp.MustCompile(`(?i)\b(failed|unable|error:|error while|could not|couldn't|can't|please|sorry|oops)\b`).FindString(s); m != "" {
		list = append(list, "want the operation and its cause, not "+m)
	}
	if maker == "fmt.Errorf" && strings.HasSuffix(s, ": %v") && !strings.Contains(s, "%w") { // of what a panic says
		list = append(list, "want %w for the cause")
	}
	return list
}
