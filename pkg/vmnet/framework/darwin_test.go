package framework_test

import (
	"debug/macho"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// cName matches what may be the name of a symbol of the system's.
var cName = regexp.MustCompile(`^_?(vmnet|xpc|dispatch|NSConcrete|Block|CF)\w*$`)

// TestDarwinNames reads the source that darwin is given, and lists every string in
// it that has the form of a symbol's name: each is among the facts, and each of
// the facts is there. So nothing is looked up beside the table of symbols.
func TestDarwinNames(t *testing.T) {
	used, _ := facts(t)
	for _, arch := range []string{"amd64", "arm64"} {
		ctx := build.Default
		ctx.GOOS, ctx.GOARCH, ctx.CgoEnabled = "darwin", arch, false
		pkg, err := ctx.ImportDir(".", 0)
		if err != nil {
			t.Fatal(err)
		}
		found, lookups := map[string]bool{}, 0
		for _, name := range pkg.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && cName.MatchString(text) {
						found[text] = true
					}
				case *ast.SelectorExpr:
					if n.Sel.Name == "Dlsym" || strings.HasPrefix(n.Sel.Name, "Register") {
						lookups++
					}
				}
				return true
			})
		}
		if lookups != 1 {
			t.Errorf("%s: %d places look symbols up, want the one that walks the table", arch, lookups)
		}
		for name := range used {
			if !found[name] {
				t.Errorf("%s: %s is not looked up", arch, name)
			}
			delete(found, name)
		}
		for name := range found {
			if !slices.Contains(notSymbols, name) {
				t.Errorf("%s: %q is looked up, or looks so, and is not among the facts", arch, name)
			}
		}
	}
}

// notSymbols are strings of that form that name something else.
var notSymbols = []string{"vmnet"} // the library

// TestDarwinImports sees that the program for macOS wants none of the table's
// symbols when it is loaded: a macOS without one starts it all the same.
func TestDarwinImports(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program for two machines")
	}
	for _, arch := range []string{"amd64", "arm64"} {
		prog := filepath.Join(t.TempDir(), "vmnet-shim")
		cmd := exec.Command("go", "build", "-o", prog, "github.com/vmnet-cni/vmnet/cmd/vmnet-shim")
		cmd.Env = append(os.Environ(), "GOOS=darwin", "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		f, err := macho.Open(prog)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		libs, err := f.ImportedLibraries()
		if err != nil {
			t.Fatal(err)
		}
		symbols, err := f.ImportedSymbols()
		if err != nil {
			t.Fatal(err)
		}
		for _, lib := range libs {
			if strings.Contains(lib, "vmnet") {
				t.Errorf("%s: is linked with %s", arch, lib)
			}
		}
		used, _ := facts(t)
		for _, s := range symbols {
			name := strings.TrimPrefix(s, "_")
			// Go's package for certificates imports some of CoreFoundation and XPC.
			if _, ok := used[name]; ok && name != "CFRelease" || strings.HasPrefix(name, "vmnet_") {
				t.Errorf("%s: imports %s", arch, s)
			}
		}
		if !slices.Contains(symbols, "_dlsym") {
			t.Errorf("%s: does not import dlsym: %q", arch, symbols)
		}
	}
}
