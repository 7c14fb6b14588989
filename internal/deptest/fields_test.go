package deptest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// serverDir is where events and metrics come from.
const serverDir = "../../pkg/shim/server"

// eventArgs are the functions that make events, and which argument is the name of
// the first detail.
var eventArgs = map[string]int{"tell": 3, "newEvent": 2, "cameBack": 3}

// details calls field for each name in the details of events.
func details(t *testing.T, field func(token.Position, string)) {
	t.Helper()
	files := token.NewFileSet()
	for _, f := range parsed(t, files, serverDir) {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				first, ok := eventArgs[strings.TrimPrefix(name(n.Fun), "s.")]
				for i := first; ok && i < len(n.Args); i += 2 {
					if s := text(n.Args[i]); s != "" {
						field(files.Position(n.Args[i].Pos()), s)
					}
				}
			case *ast.KeyValueExpr:
				lit, ok := n.Value.(*ast.CompositeLit)
				if !ok || name(n.Key) != "Detail" {
					break
				}
				for _, e := range lit.Elts {
					field(files.Position(e.Pos()), text(e.(*ast.KeyValueExpr).Key))
				}
			}
			return true
		})
	}
}

// parsed returns the source files of a directory, without tests.
func parsed(t *testing.T, files *token.FileSet, dir string) (list []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(paths), err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
	return list
}

// labels returns those of the shim's metrics.
func labels(t *testing.T) (list []string) {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(serverDir, "metrics.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\[\]string\{([^}]*)\}|append\(attachmentLabels, ([^)]*)\)`).FindAllStringSubmatch(string(source), -1) {
		for _, label := range regexp.MustCompile(`"([a-z_]+)"`).FindAllStringSubmatch(m[1]+m[2], -1) {
			list = append(list, label[1])
		}
	}
	if len(list) < 5 {
		t.Fatalf("labels %q: want more", list)
	}
	return list
}

// camel spells a label, as container_id, as fields are spelled.
func camel(label string) string {
	words := strings.Split(label, "_")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
		if w == "id" {
			words[i+1] = "ID"
		}
	}
	return strings.Join(words, "")
}

// jsonNames returns the names of the API's JSON.
func jsonNames(t *testing.T) (list []string) {
	t.Helper()
	for _, f := range parsed(t, token.NewFileSet(), "../../pkg/shim") {
		ast.Inspect(f, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok && field.Tag != nil {
				if m := regexp.MustCompile(`json:"([a-zA-Z0-9]+)`).FindStringSubmatch(field.Tag.Value); m != nil {
					list = append(list, m[1])
				}
			}
			return true
		})
	}
	if len(list) < 50 {
		t.Fatalf("%d names in the API's JSON: want more", len(list))
	}
	return list
}
