package deptest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logged are the directories whose programs log.
var logged = []string{"cmd", "plugins", "pkg/shim/server", "pkg/shim/keeper"}

// TestLogFields finds the fields of log lines in the source, and compares them with
// the table in docs/operate.md: the same thing has the same name everywhere.
func TestLogFields(t *testing.T) {
	page, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	allowed := fieldsOf(string(page))
	used := []string{"error", "msg", "level", "time"} // logrus' own
	lines(t, func(at token.Position, field string) {
		if !slices.Contains(allowed, field) {
			t.Errorf("%s: field %q is not in the table of docs/operate.md", at, field)
		}
		used = append(used, field)
	}, func(at token.Position, text string) {
		switch {
		case strings.Contains(text, "\n"), strings.HasSuffix(text, "."):
			t.Errorf("%s: message %q: want one line without a full stop", at, text)
		case text != "" && text[0] >= 'A' && text[0] <= 'Z':
			t.Errorf("%s: message %q: want lower case", at, text)
		}
	})
	details(t, func(at token.Position, field string) {
		if !slices.Contains(allowed, field) {
			t.Errorf("%s: detail %q of an event is not in the table of docs/operate.md", at, field)
		}
		used = append(used, field)
	})
	for _, label := range labels(t) {
		field := camel(label)
		if !slices.Contains(allowed, field) {
			t.Errorf("label %s of a metric: field %s is not in the table of docs/operate.md", label, field)
		}
		used = append(used, field)
	}
	for _, name := range allowed {
		if !slices.Contains(used, name) {
			t.Errorf("docs/operate.md: field %s is in no log line, event or metric", name)
		}
	}
	for _, tag := range jsonNames(t) { // what is spelled otherwise there, but for its case, would be one thing by two names
		for _, name := range allowed {
			if strings.EqualFold(tag, name) && tag != name {
				t.Errorf("the API says %s, logs say %s", tag, name)
			}
		}
	}
}

// fieldsOf returns the names of the table in docs/operate.md.
func fieldsOf(page string) (names []string) {
	_, table, _ := strings.Cut(page, "\n| field | |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		for _, m := range regexp.MustCompile("`([A-Za-z]+)`").FindAllStringSubmatch(cell, -1) {
			names = append(names, m[1])
		}
	}
	return names
}

// lines calls field for the name of each field in the source, and message for each
// message that is a constant.
func lines(t *testing.T, field, message func(token.Position, string)) {
	t.Helper()
	files := token.NewFileSet()
	for _, dir := range logged {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					call(t, files, n, field, message)
				case *ast.CompositeLit:
					if name(n.Type) != "logrus.Fields" {
						break
					}
					for _, e := range n.Elts {
						field(files.Position(e.Pos()), text(e.(*ast.KeyValueExpr).Key))
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
}

// levels are the methods of a logger that write a line.
var levels = []string{"Debug", "Info", "Warn", "Error", "Debugf", "Infof", "Warnf", "Errorf"}

func call(t *testing.T, files *token.FileSet, n *ast.CallExpr, field, message func(token.Position, string)) {
	sel, ok := n.Fun.(*ast.SelectorExpr)
	if !ok || len(n.Args) == 0 {
		return
	}
	at, method, on := files.Position(n.Pos()), sel.Sel.Name, name(sel.X)
	isLog := strings.Contains(strings.ToLower(on), "log") && on != "slog"
	switch {
	case method == "WithField", method == "set" && on == "l" || method == "set" && on == "c.log":
		field(at, text(n.Args[0]))
	case on == "log" && strings.HasPrefix(method, "Fatal"), on == "logrus" && method == "Fatal":
		t.Errorf("%s: %s.%s ends the program", at, on, method)
	case isLog && slices.Contains(levels, method) && text(n.Args[0]) != "":
		message(at, text(n.Args[0]))
	}
}

// name returns an expression of names as it is written, and "log" for a call that
// returns an entry of a log.
func name(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return name(e.X) + "." + e.Sel.Name
	case *ast.CallExpr:
		if sel, ok := e.Fun.(*ast.SelectorExpr); ok && (strings.HasPrefix(sel.Sel.Name, "With") || sel.Sel.Name == "logOf") {
			return "log"
		}
	}
	return ""
}

// text returns a constant string, or nothing.
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}
